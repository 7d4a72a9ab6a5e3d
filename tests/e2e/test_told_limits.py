"""An account that tells a lower limit than is configured: the lower one is kept, from the first answer on."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from installation import addresses, resets

USERS = 12


def gaps_of(installation):
    """Return the seconds between the slots of the calls, in their order."""
    slots = [
        datetime.fromisoformat(slot) for (slot,) in installation.query("SELECT slot_at FROM attempt ORDER BY 1")
    ]
    return [(after - before).total_seconds() for before, after in pairwise(slots)]


async def test_no_second_call_leaves_before_the_limit_is_told(zendesk, installation):
    """600 a minute where 60,000 are configured: a tenth of a second between any two calls, the first ones too."""
    tenant = zendesk(USERS, limit=600, account={"requests_per_minute": 60_000})
    placed = await installation.order("zendesk", addresses(USERS, "zendesk"))
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": USERS}
    assert len(resets(tenant)) == USERS
    assert min(gaps_of(installation)) >= 0.1


async def test_a_limit_that_is_not_lower_changes_nothing(zendesk, installation):
    """What the account tells above the configured number is not used up."""
    zendesk(USERS, limit=60_000, account={"requests_per_minute": 600})
    await installation.order("zendesk", addresses(USERS, "zendesk"))
    await installation.run()
    assert min(gaps_of(installation)) >= 0.1


async def test_the_estimate_is_by_the_lower_limit(zendesk, installation):
    """An order says by the account's own limit how long it takes, and warns of the configuration."""
    tenant = zendesk(USERS, limit=600, account={"requests_per_minute": 60_000})
    users = addresses(USERS, "zendesk")
    by_the_lower = await installation.order("zendesk", users, dry_run=True)
    assert any("the provider tells 600/min" in warning for warning in by_the_lower.warnings)
    tenant.change(replace(tenant.spec, limit=None))
    by_the_configured = await installation.order("zendesk", users, dry_run=True)
    assert by_the_lower.estimate_s > 10 * by_the_configured.estimate_s
    assert not any("the provider tells" in warning for warning in by_the_configured.warnings)
