"""`bulkreset sandbox`: stand-ins for Zoom and Zendesk, for drills."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bulkreset.cli.context import start

if TYPE_CHECKING:
    from bulkreset.sandbox import TenantSpec


class ZoomPlan(StrEnum):
    """The Zoom plans whose limits the stand-in keeps."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"


def sandbox(
    port: Annotated[
        int, typer.Option(metavar="P", min=0, max=65535, help="The port on loopback; 0 takes a free one.")
    ] = 8765,
    plan: Annotated[ZoomPlan, typer.Option(help="The plan of the Zoom mock server.")] = ZoomPlan.PRO,
    zendesk_plan: Annotated[
        str, typer.Option(metavar="PLAN", help="The plan of the Zendesk mock server.")
    ] = "enterprise",
    users: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="How many users each of them has.")
    ] = 300,
    spec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON file with tenants, in place of the two.")
    ] = None,
) -> None:
    """Serve strict mock servers of Zoom and Zendesk on loopback, until stopped."""
    from bulkreset.errors import StoreError, UsageError
    from bulkreset.sandbox import SpecError, load_specs, serve

    try:
        tenants = _tenants(plan, zendesk_plan, users) if spec is None else load_specs(spec)
    except (SpecError, OSError) as error:
        raise UsageError(f"--spec: {error}") from None

    def ready(url: str) -> None:
        for tenant in tenants:
            print("\n".join(account_lines(tenant, url)) + "\n", flush=True)
        print(f"# serving on {url} until stopped; state and faults are under {url}/_sandbox/", flush=True)

    try:
        start(serve("127.0.0.1", port, tenants, ready))
    except OSError as error:
        raise StoreError(f"cannot listen on port {port}: {error.strerror}; name another one with --port") from None


def account_lines(tenant: "TenantSpec", url: str) -> list[str]:
    """Return the configuration of the account that reaches this stand-in; its secrets are the sandbox's own."""
    from bulkreset.providers.zoom.settings import PLANS

    if tenant.provider == "zoom":
        plan = next((name for name, rates in PLANS.items() if rates["medium"].calls == tenant.limit), None)
        rate = [f'plan = "{plan}"'] if plan else [f"requests_per_second = {tenant.limit}"] if tenant.limit else []
        name, secret = "ZOOM_CLIENT_SECRET", tenant.client_secret
    else:
        rate = [f"requests_per_minute = {tenant.limit or 100_000}"]
        name, secret = "ZENDESK_CLIENT_SECRET", tenant.client_secret
    return [f"# export {name}={secret}", *account_table(tenant, url, f'{{ env = "{name}" }}', *rate)]


def account_table(tenant: "TenantSpec", url: str, secret: str, *own: str) -> list[str]:
    """Return the table of the account that reaches this stand-in: where it is, its secret's source, and more."""
    base = f"{url}/{tenant.name}"
    if tenant.provider == "zoom":
        access = [
            f'account_id = "{tenant.account_id}"',
            f'client_id = "{tenant.client_id}"',
            f"client_secret = {secret}",
            f'api_url = "{base}/v2"',
            f'oauth_url = "{base}/oauth/token"',
        ]
    else:
        access = [f'client_id = "{tenant.client_id}"', f"client_secret = {secret}", f'api_url = "{base}"']
    return [f"[accounts.{tenant.name}]", f'provider = "{tenant.provider}"', *own, *access]


def _tenants(plan: str, zendesk_plan: str, users: int) -> "list[TenantSpec]":
    from bulkreset.errors import UsageError
    from bulkreset.providers.zendesk.settings import PLANS as ZENDESK
    from bulkreset.providers.zoom.settings import PLANS as ZOOM
    from bulkreset.sandbox import parse_spec

    if zendesk_plan not in ZENDESK:
        raise UsageError(f"--zendesk-plan: {zendesk_plan!r} is none of {', '.join(ZENDESK)}")
    rate = ZOOM[plan]["medium"]
    generate = {"count": users}
    return [
        parse_spec(
            {
                "name": "zoom",
                "provider": "zoom",
                "limit": int(rate.calls),
                "daily": rate.daily,
                "light_limit": int(ZOOM[plan]["light"].calls),
                "generate": generate,
            }
        ),
        parse_spec(
            {
                "name": "zendesk",
                "provider": "zendesk",
                "limit": int(ZENDESK[zendesk_plan].calls),
                "generate": generate,
            }
        ),
    ]
