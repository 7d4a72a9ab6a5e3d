"""`bulkreset check` and `bulkreset own-password`: one account, no batch."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkreset.cli.completion import accounts as known_accounts
from bulkreset.cli.context import Invocation, columns_of, opened, start, transport
from bulkreset.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Final

    from bulkreset.config import Settings
    from bulkreset.intake.protection import Protected
    from bulkreset.providers.base import Finding, Pace, Provider
    from bulkreset.settings import AccountSettings


def check(
    context: typer.Context,
    account: Annotated[
        str, typer.Argument(help="The account, as named in the configuration.", autocompletion=known_accounts)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Log in and show the rate, what passwords will be, and what would refuse a reset; sends no write.

    Exits with 1 where something would refuse it.
    """
    import json

    from bulkreset.cli.context import log_level
    from bulkreset.logs import configure

    invocation: Invocation = context.obj
    settings = invocation.settings(told=False)
    configure(log_level())
    found = start(_check(settings, account))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(shown(found, columns_of(sys.stdout))))
    if not found["ok"]:
        raise typer.Exit(1)


_SIGNS: "Final[Mapping[str | None, str]]" = {None: "ok  ", "warning": "warn", "unknown": "?   "}


def shown(found: "dict[str, Any]", width: int | None) -> list[str]:
    """Return the lines that a person sees of a check."""
    from datetime import timedelta

    from bulkreset.limits.rates import Rate
    from bulkreset.report.grid import folded

    told = found["rate"]
    rate = Rate(told["calls"], timedelta(seconds=told["window_s"]), told["daily"])
    limit = rate.as_share(told["share"])
    said = folded(
        f"{found['account']}: {found['provider']}, label {told['label']}, share {told['share']:g}: {limit}",
        width,
        rest="  ",
    )
    for finding in found["findings"]:
        sign = _SIGNS[finding["remark"]] if finding["ok"] else "FAIL"
        said += folded(f"  {sign}  {finding['topic']}: {finding['detail']}", width, rest=" " * 8)
    if (passwords := found["passwords"]) is not None:
        said += folded(f"  new passwords, by {passwords['source']}:", width, rest="    ")
        for topic in ("length", "classes", "runs", "style", "shape"):
            said += folded(f"    {topic + ':':<8} {passwords[topic]}", width, rest=" " * 13)
        for wish in passwords["unmet"]:
            said += folded(f"    not as [passwords] asks: {wish}", width, rest=" " * 13)
    return said


async def _check(settings: "Settings", name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from bulkreset.errors import ProviderError
    from bulkreset.intake.ways import lower_limit, rate_of
    from bulkreset.limits.quota import Spacing
    from bulkreset.model import Action, Quota
    from bulkreset.passwords.description import describe
    from bulkreset.providers import open_provider
    from bulkreset.providers.base import Checkup, Finding, Remark
    from bulkreset.providers.http import ReadTransport
    from bulkreset.store import quotas
    from bulkreset.store.pace import Pacer

    account = settings.account(name)
    async with opened(settings) as store, transport(ReadTransport, settings) as way:
        provider = open_provider(name, account, settings.base, way)
        label = provider.label(Action.SET_PASSWORD)
        pace = Pacer(store, Quota(name, label), Spacing.of(account.rate(label)), through_halt=True)
        async with store.read() as conn:
            halted = (await quotas.halts(conn)).get(name)
        try:
            checked = await provider.check(pace)
        except ProviderError as error:
            checked = Checkup((Finding("login", ok=False, detail=str(error)),))
        protected = await _check_protected(account, settings.base, provider, pace, readable=not checked.failures)
        rate = rate_of(account, provider, label)
        lower = lower_limit(account, provider, label)
    findings = [*checked.findings, protected]
    if halted is not None:
        advice = "when all is well here, `bulkreset batch resume ID` of any of its batches lifts it"
        findings.append(Finding("halted", ok=True, detail=f"{halted}; {advice}", remark=Remark.WARNING))
    if lower is not None:
        findings.append(Finding("limit", ok=True, detail=lower, remark=Remark.WARNING))
    policy = None if checked.policy is None else checked.policy.with_wishes(settings.passwords.wishes)
    fault = None if policy is None else policy.impossible()
    if fault is not None:
        findings.append(
            Finding("passwords", ok=False, detail=f"none can meet the policy: {fault}; change it there")
        )
    return {
        "account": name,
        "provider": account.provider,
        "rate": {
            "label": label,
            "calls": rate.calls,
            "window_s": rate.window.total_seconds(),
            "daily": rate.daily,
            "share": account.share,
            "text": str(rate),
        },
        "policy": None if policy is None else asdict(policy),
        "passwords": None if policy is None or fault is not None else asdict(describe(policy)),
        "findings": [asdict(finding) for finding in findings],
        "ok": all(finding.ok for finding in findings),
    }


async def _check_protected(
    account: "AccountSettings", base: "Path", provider: "Provider", pace: "Pace", *, readable: bool
) -> "Finding":
    """Look whether the people who are never reset are known, and there: without that an order is refused."""
    from bulkreset.errors import ConfigError, InputError
    from bulkreset.intake import protection
    from bulkreset.providers.base import Finding, Remark

    try:
        protected = protection.load(account, base)
    except (ConfigError, InputError) as error:
        return Finding("protected", ok=False, detail=f"{error}; an order is refused and a running account halts")
    if protected is None:
        detail = (
            'not set: an order for --all-users is refused; name the users who are never reset, or write "none"'
        )
        return Finding("protected", ok=True, detail=detail, remark=Remark.WARNING)
    if not protected.names:
        return Finding("protected", ok=True, detail="nobody, as it says")
    count = len(protected.names)
    never = f"{'1 name is' if count == 1 else f'{count:,} names are'} never reset"
    if not readable:
        detail = f"{never}; whether they are anybody's was not looked at: put right first what fails above"
        return Finding("protected", ok=True, detail=detail, remark=Remark.UNKNOWN)
    return await _whose(never, protected, account, provider, pace)


async def _whose(
    never: str,
    protected: "Protected",
    account: "AccountSettings",
    provider: "Provider",
    pace: "Pace",
) -> "Finding":
    """List the account, once, and name the protected whom it does not have."""
    import asyncio

    from bulkreset.cli.order import listing_progress
    from bulkreset.errors import ProviderError
    from bulkreset.intake import doubts
    from bulkreset.intake.beside import beside
    from bulkreset.intake.listing import list_account
    from bulkreset.intake.preflight import stale_above
    from bulkreset.intake.roster import Roster
    from bulkreset.providers.base import Finding, Remark

    with Roster("the account's listing") as roster:
        try:
            await list_account(
                roster,
                provider,
                pace,
                sleep=asyncio.sleep,
                progress=listing_progress(),
                stale_above=stale_above(account),
            )
        except ProviderError as error:
            detail = (
                f"{never}; whether they are anybody's cannot be told, since the account is not listed: {error}"
            )
            return Finding("protected", ok=True, detail=detail, remark=Remark.UNKNOWN)
        found = await beside(doubts.nobodies, roster, (), protected)
    nobody = next((str(each) for each in found if each.nobody), None)
    if nobody is None:
        return Finding("protected", ok=True, detail=f"{never}, and each is somebody's")
    if any(doubts.doubts_about(found)):
        detail = f"{nobody}; an order is refused for it: is this the list of another account?"
        return Finding("protected", ok=False, detail=detail)
    return Finding("protected", ok=True, detail=f"{never}; {nobody}", remark=Remark.WARNING)


def own_password(
    context: typer.Context,
    account: Annotated[
        str,
        typer.Argument(
            help="An account, as named in the configuration, whose provider allows it.",
            autocompletion=known_accounts,
        ),
    ],
) -> None:
    """Change the password of the user that this account's credentials belong to.

    Asks for the old and the new password, without echo.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(told=False)
    start(_own_password(settings, account))
    say(f"{account}: the password was changed")


async def _own_password(settings: "Settings", name: str) -> None:
    from bulkreset.errors import ConfigError, ProviderRefused, UsageError
    from bulkreset.limits.quota import Spacing
    from bulkreset.model import Action, Outcome, Quota
    from bulkreset.providers import KINDS, kind_of, open_provider
    from bulkreset.providers.http import WriteTransport
    from bulkreset.secret import Secret
    from bulkreset.store.pace import Pacer

    account = settings.account(name)
    change = kind_of(account).change_own_password
    if change is None:
        able = [kind.title for kind in KINDS.values() if kind.change_own_password is not None]
        raise ConfigError(
            f"account {name!r} is at {account.provider}; only {' and '.join(able)} lets users set their own "
            "password"
        )
    old = Secret(typer.prompt("Old password", hide_input=True, err=True))
    new = Secret(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
    if old.reveal() == new.reveal():
        raise UsageError("the new password is the old one; nothing was changed")
    async with opened(settings) as store, transport(WriteTransport, settings) as way:
        provider = open_provider(name, account, settings.base, way)
        label = provider.label(Action.SET_PASSWORD)
        pace = Pacer(store, Quota(name, label), Spacing.of(account.rate(label)))
        verdict = await change(provider, way, old, new, pace)
    if verdict.outcome is not Outcome.OK:
        said = verdict.message or f"HTTP {verdict.http_status}"
        what = "may have been changed" if verdict.outcome.may_have_landed else "was not changed"
        raise ProviderRefused(f"account {name!r}: the password {what} ({verdict.outcome}): {said}")
