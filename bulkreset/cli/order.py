"""`bulkreset batch create`: who is to be reset, how, and what that will take."""

import math
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkreset.cli.completion import accounts as known_accounts
from bulkreset.cli.context import Invocation, acting, can_ask, master_key, opened, start, transport
from bulkreset.cli.output import ask, say
from bulkreset.report.words import duration

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from bulkreset.config import Settings
    from bulkreset.intake.concerns import Doubt
    from bulkreset.intake.naming import Naming
    from bulkreset.intake.order import Order, Ordered
    from bulkreset.intake.users_file import UserLine

Words = list[str] | None
_WHO = "Who is meant, with --all-users"
_HOW = "How it goes"
_HANG = " " * 8  # what stands behind a label goes on beneath itself


def create(
    context: typer.Context,
    account: Annotated[
        str,
        typer.Option(
            metavar="A", help="The account, as named in the configuration.", autocompletion=known_accounts
        ),
    ],
    incident: Annotated[str, typer.Option(metavar="ID", help="The incident that this reset belongs to.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is done; it stays in the audit log.")],
    users: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A CSV or JSON export, a report of bulkreset, or one user per line; - is standard input.",
        ),
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Everybody whom the account lists.")] = False,
    exclude: Annotated[
        Words, typer.Option(metavar="FILE", help="Users to leave out, in the same form; may be repeated.")
    ] = None,
    role: Annotated[Words, typer.Option(metavar="R", help="Only this role.", rich_help_panel=_WHO)] = None,
    status: Annotated[Words, typer.Option(metavar="S", help="Only this status.", rich_help_panel=_WHO)] = None,
    domain: Annotated[
        Words, typer.Option(metavar="D", help="Only addresses in this domain.", rich_help_panel=_WHO)
    ] = None,
    group: Annotated[
        Words,
        typer.Option(
            metavar="ID", help="Only members of this group, where the listing tells.", rich_help_panel=_WHO
        ),
    ] = None,
    created_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only accounts older than this.", rich_help_panel=_WHO)
    ] = None,
    last_login_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only users who signed in since then.", rich_help_panel=_WHO)
    ] = None,
    include_admins: Annotated[
        bool,
        typer.Option("--include-admins", help="Admins too; never the owner or bulkreset itself."),
    ] = False,
    skip_if_reset_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Leave out users whom another batch has reset since then.")
    ] = None,
    check_logins: Annotated[
        bool,
        typer.Option(
            "--check-logins", help="Ask for each user how they sign in: one call each, where the provider tells."
        ),
    ] = False,
    not_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Do not start before: ISO 8601, UTC where it names no offset."),
    ] = None,
    first: Annotated[
        str | None, typer.Option(metavar="FILE", help="People to do before all others.", rich_help_panel=_HOW)
    ] = None,
    canary: Annotated[
        int,
        typer.Option(metavar="N", help="So many go first; the rest wait until they finish.", rich_help_panel=_HOW),
    ] = 0,
    hold_after_canary: Annotated[
        bool, typer.Option("--hold-after-canary", help="Then wait for `batch resume`.", rich_help_panel=_HOW)
    ] = False,
    ramp: Annotated[
        float, typer.Option(metavar="MINUTES", help="Begin with a tenth of the rate.", rich_help_panel=_HOW)
    ] = 0,
    halt_at: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Halt at this share of failures in the last 100.", rich_help_panel=_HOW
        ),
    ] = "20%",
    revoke_sessions: Annotated[
        bool, typer.Option("--revoke-sessions", help="End each user's sessions too.", rich_help_panel=_HOW)
    ] = False,
    escrow_to: Annotated[
        Words,
        typer.Option(
            metavar="AGE1…", help="Keep the passwords, readable by this recipient only.", rich_help_panel=_HOW
        ),
    ] = None,
    escrow_days: Annotated[
        int, typer.Option(metavar="N", help="Destroy them after so many days.", rich_help_panel=_HOW)
    ] = 30,
    accept_listing: Annotated[
        bool, typer.Option("--accept-listing", help="Go on although the provider counts more users than it lists.")
    ] = False,
    accept_unknown_names: Annotated[
        bool,
        typer.Option(
            "--accept-unknown-names", help="Go on although most names of an exception list match nobody."
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Reset people once more who were reset within 24 hours.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with yes, as scripts must.")] = False,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Start without approvals, where the configuration allows it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything except write the batch; no password is made.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Freeze a list of users as a batch; runners start on it at once, or at --not-before."""
    import json
    from dataclasses import asdict

    from bulkreset.cli.context import log_level
    from bulkreset.errors import UsageError
    from bulkreset.intake.concerns import QUESTIONS, Concern
    from bulkreset.intake.filters import filters_for
    from bulkreset.intake.naming import Naming
    from bulkreset.intake.order import Order
    from bulkreset.logs import configure
    from bulkreset.options import Options
    from bulkreset.passwords.escrow import recipients
    from bulkreset.providers import kind_of

    invocation: Invocation = context.obj
    settings = invocation.settings(told=False)
    configure(log_level())
    filters = {"roles": role, "statuses": status, "domains": domain, "groups": group}
    times = {"created_before": created_before, "last_login_after": last_login_after}
    if all_users == (users is not None):
        raise UsageError("give either --users FILE or --all-users; see `bulkreset batch create --help`")
    if not all_users and any([*filters.values(), *times.values()]):
        raise UsageError("--role, --status, --domain, --group and the two dates go with --all-users only")
    if [users, first, *(exclude or [])].count("-") > 1:
        raise UsageError("standard input (-) can be read once only; put the other list into a file")
    if not math.isfinite(ramp):
        raise UsageError(f"--ramp {ramp} is no number of minutes; write 10")
    if hold_after_canary and not canary:
        raise UsageError("--hold-after-canary goes with --canary N")
    if escrow_to:
        recipients(escrow_to)
    kind = kind_of(settings.account(account))
    who = acting(settings)
    naming = Naming.of(settings.account(account), account)
    order = Order(
        account,
        incident,
        reason,
        who.name,
        moment("--not-before", not_before),
        all_users=filters_for(
            kind,
            **{name: tuple(words or ()) for name, words in filters.items()},  # type: ignore[arg-type]
            **{name: moment(f"--{name.replace('_', '-')}", at) for name, at in times.items()},  # type: ignore[arg-type]
        )
        if all_users
        else None,
        options=Options(
            revoke_sessions=revoke_sessions,
            escrow_to=tuple(escrow_to or ()),
            escrow_days=escrow_days,
            canary=canary,
            hold_after_canary=hold_after_canary,
            ramp_s=round(ramp * 60),
            halt_at=share(halt_at),
            include_admins=include_admins,
        ),
        first=tuple(_listed(first, naming)),
        skip_if_reset_since=moment("--skip-if-reset-since", skip_if_reset_since),
        check_logins=check_logins,
        emergency=emergency,
        login=who.login,
        accepts=frozenset(
            [
                *([Concern.LISTING] if accept_listing else []),
                *([Concern.UNKNOWN_NAMES] if accept_unknown_names else []),
                *([Concern.AGAIN] if again else []),
                *(QUESTIONS if yes else []),
            ]
        ),
    )
    written: list[int] = []
    try:
        placed = start(_place(settings, order, users, exclude or [], dry_run=dry_run, written=written))
    except KeyboardInterrupt:
        say(f"bulkreset: interrupted: {start(_outcome(settings, written))}", rest="  ", out=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(asdict(placed)))
    else:
        show(placed, order)


async def _place(
    settings: "Settings",
    order: "Order",
    users: str | None,
    exclude: list[str],
    *,
    dry_run: bool,
    written: list[int],
) -> "Ordered":
    from bulkreset.intake.naming import Naming
    from bulkreset.intake.order import chunks, place
    from bulkreset.providers.http import ReadTransport

    naming = Naming.of(settings.account(order.account), order.account)

    async def note(_: "AsyncConnection", batch_id: int) -> None:
        written.append(batch_id)

    with ExitStack() as files:

        async def excluded() -> AsyncIterator[list["UserLine"]]:
            for name in exclude:
                async for chunk in chunks(_lines(name, files, naming)):
                    yield chunk

        async with opened(settings) as store, transport(ReadTransport, settings) as way:
            return await place(
                store,
                settings,
                way,
                None if dry_run else master_key(settings),
                order,
                users=None if users is None else chunks(_lines(users, files, naming)),
                excluded=excluded(),
                ask=_ask if can_ask() else None,
                dry_run=dry_run,
                progress=listing_progress(),
                accept=note,
            )


async def _outcome(settings: "Settings", written: list[int]) -> str:
    """Say what an order that was interrupted has left: the batch as a whole, or nothing."""
    from bulkreset.store import batches

    if written:
        async with opened(settings) as store:
            if await batches.find(store, ids=written):
                return f"batch {written[0]} is ordered all the same; `bulkreset batch cancel {written[0]}` ends it"
    return "nothing was ordered"


def show(placed: "Ordered", order: "Order") -> None:
    """Say what an order became, or would become, and what happens next."""
    what = "dry run" if placed.id is None else f"batch {placed.id}"
    left_out = f"({placed.excluded:,} excluded, {placed.duplicates:,} duplicates)"
    say(f"{what}: {placed.total:,} users at {placed.account} {left_out}", rest=_HANG)
    if placed.listed is not None and order.all_users is not None:
        unsure = (
            f", {placed.undecided:,} of them kept for what the listing does not say" if placed.undecided else ""
        )
        say(f"listed  {placed.listed:,} users of the account{unsure}", rest=_HANG)
    if placed.missing:
        unlisted = f"{placed.missing:,} users more than it lists"
        say(f"note    the provider counts {unlisted}, as was accepted", rest=_HANG)
    say(f"roster sha256 {placed.roster_sha256}", rest=_HANG)
    if placed.skipped:
        reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in placed.skipped.items())
        say(f"skipped {sum(placed.skipped.values()):,}: {reasons}", rest=_HANG)
    _show_doubts(placed)
    if placed.first or placed.canaries:
        say(f"order   {placed.canaries:,} canaries, {placed.first:,} to do first", rest=_HANG)
    if placed.daily_limit is not None and placed.daily_limit_in_s is not None:
        reached = duration(placed.daily_limit_in_s)
        say(f"note    the daily limit of {placed.daily_limit:,} calls is reached after {reached}", rest=_HANG)
    for warning in placed.warnings:
        say(f"warning {warning}", rest=_HANG)
    for finding in placed.would_halt:
        say(f"halts   {finding}", rest=_HANG)
    takes = f"about {duration(placed.estimate_s)} at this account's limit"
    calls = f"{placed.calls:,} calls, {takes}" if placed.calls else "nobody would be called"
    say(f"{calls}; {_next(placed, order)}")


def _show_doubts(placed: "Ordered") -> None:
    if placed.not_listed:
        names = ", ".join(placed.not_listed_first)
        more = f" and {n:,} more" if (n := placed.not_listed - len(placed.not_listed_first)) else ""
        say(f"not listed {placed.not_listed:,}, and not called: {names}{more}", rest=_HANG)
    for each in placed.nobody:
        if each.nobody:
            say(f"nobody  {each}", rest=_HANG)
    for text in placed.doubts if placed.id is None else ():
        say(f"asks    {text}", rest=_HANG)


def _ask(doubt: "Doubt") -> bool:
    return ask(f"{doubt.text}. Order it all the same?")


def share(text: str) -> float:
    """Read a share: `20%`, or `0.2`. Raises UsageError."""
    from bulkreset.errors import UsageError

    given = text.strip()
    try:
        value = float(given.removesuffix("%").strip()) / (100 if given.endswith("%") else 1)
    except ValueError:
        value = 0
    if not 0 < value <= 1:
        raise UsageError(f"--halt-at {text!r} is no share; write 20% or 0.2")
    return value


def moment(option: str, text: str | None) -> datetime | None:
    """Read a time; UTC where it names no offset. Raises UsageError that names the option."""
    from bulkreset.errors import UsageError

    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # an offset can lead out of the years that there are
        raise UsageError(f"{option} {text!r} is not a time; write 2026-01-31T22:00:00Z") from None


def _next(placed: "Ordered", order: "Order") -> str:
    start_at = "" if order.not_before is None else f", not before {order.not_before:%Y-%m-%d %H:%M:%S} UTC"
    if placed.id is None:
        return "nothing was written, nothing was sent"
    if placed.approvals_needed:
        approve = f"`bulkreset batch approve {placed.id} --roster {placed.roster_sha256[:12]}`"
        people = "one other person" if placed.approvals_needed == 1 else f"{placed.approvals_needed} other people"
        return f"it is a draft: {people} must run {approve}{start_at}"
    return f"`bulkreset run` starts on it{start_at}"


def _lines(name: str, files: ExitStack, naming: "Naming") -> "Iterator[UserLine]":
    from bulkreset.errors import UsageError
    from bulkreset.intake.users_file import read_users

    if name == "-":
        return read_users(sys.stdin.buffer, "standard input", naming)
    try:
        return read_users(files.enter_context(Path(name).open("rb")), name, naming)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None


def _listed(name: str | None, naming: "Naming") -> "list[UserLine]":
    if name is None:
        return []
    with ExitStack() as files:
        return list(_lines(name, files, naming))


def listing_progress() -> Any:
    """Show on a terminal how far a listing is; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    ended = False

    def told(listed: int, total: int | None) -> None:
        nonlocal ended
        of = "" if total is None else f" of {total:,}"
        if not ended:  # an account is read in parts, and the last ones may add nobody
            ended = total is not None and listed >= total
            line = f"\rlisting the account: {listed:,}{of} users"
            print(line, end="\n" if ended else "", file=sys.stderr, flush=True)

    return told
