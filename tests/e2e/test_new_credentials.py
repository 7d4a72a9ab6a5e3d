"""Credentials that die while a worker runs: a new one in the file and `batch resume` are enough."""

import asyncio
from dataclasses import replace

import pytest
from installation import addresses, calls_reach, check_books, resets

from bulkreset.store import lifecycle

USERS = 40


async def until(condition):
    """Wait for what another task brings about, and return what it is."""
    async with asyncio.timeout(60):
        while not (found := condition()):  # noqa: ASYNC110  (a row of the database has no event)
            await asyncio.sleep(0.02)
        return found


def halt_of(installation):
    """Return why the account is halted, as the table has it."""
    return [reason for (reason,) in installation.query("SELECT halted_reason FROM quota") if reason]


@pytest.fixture(params=["zoom client_secret", "zendesk client_secret", "zendesk oauth_token", "zendesk api_token"])
def login(request):
    """Where a secret is, and the setting that holds it."""
    return request.param.split()


@pytest.fixture
def account(login, zoom, zendesk, installation, sandbox):
    """An account whose secret can be changed at the provider, which ends every token."""
    provider, key = login
    if provider == "zoom":
        tenant = zoom(USERS, account={"requests_per_second": 50})
    else:
        tenant = zendesk(USERS, account={"requests_per_minute": 3_000})
        installation.zendesk("zendesk", login=key, requests_per_minute=3_000)

    def exchange(secret):
        tenant.change(replace(tenant.spec, **{key: secret}))
        sandbox.revoke_tokens(provider)

    return provider, tenant, exchange


async def test_a_new_secret_reaches_a_running_worker(account, installation):
    """The account halts with the reason and what to do; then the same worker goes on to the end."""
    provider, tenant, exchange = account
    placed = await installation.order(provider, addresses(USERS, provider))

    async def exchange_and_resume(worker):
        await calls_reach(tenant, tenant.log.total + 10)
        exchange("another-secret")
        halted.extend(await until(lambda: halt_of(installation)))
        installation.new_secret(provider, "another-secret")
        await installation.steer(lifecycle.resume, placed.id)
        await until(lambda: len({call.user for call in resets(tenant) if call.applied}) == USERS)
        worker.stop()

    halted = []
    await installation.run(once=False, meanwhile=exchange_and_resume)
    (reason,) = halted
    assert "refuse" in reason
    assert "\n" not in reason
    check_books(installation, tenant)
    assert (await installation.batch(placed.id)).outcomes == {"ok": USERS}


async def test_a_file_that_is_away_keeps_the_account_halted_and_nothing_more(account, installation):
    """The worker lives on; the reason names the file; the file and another resume mend it."""
    provider, tenant, exchange = account
    placed = await installation.order(provider, addresses(USERS, provider))
    path = installation.folder / f"{provider}.secret"
    reasons = []

    async def lose_the_file(worker):
        await calls_reach(tenant, tenant.log.total + 10)
        exchange("another-secret")
        path.unlink()
        reasons.extend(await until(lambda: halt_of(installation)))
        before = tenant.log.total
        await installation.steer(lifecycle.resume, placed.id)
        await calls_reach(tenant, before + 1)  # the halt was lifted before this call, and comes again after it
        reasons.extend(await until(lambda: halt_of(installation)))
        installation.new_secret(provider, "another-secret")
        await installation.steer(lifecycle.resume, placed.id)
        await until(lambda: len({call.user for call in resets(tenant) if call.applied}) == USERS)
        worker.stop()

    await installation.run(once=False, meanwhile=lose_the_file)
    assert len(reasons) == 2
    assert all(f"{provider}.secret: no such secret file" in reason for reason in reasons)
    assert (await installation.batch(placed.id)).outcomes == {"ok": USERS}


async def test_a_dead_token_is_told_with_the_providers_reason(zendesk, installation):
    """An OAuth token that has ended: its reason and what to make are in the account's halt."""
    tenant = zendesk(USERS, oauth_token="sandbox-oauth-token", account={"requests_per_minute": 3_000})
    installation.zendesk("zendesk", login="oauth_token", requests_per_minute=3_000)
    await installation.order("zendesk", addresses(USERS, "zendesk"))
    tenant.change(replace(tenant.spec, oauth_token="another"))
    await installation.run()
    ((reason,),) = installation.query("SELECT halted_reason FROM quota")
    assert "invalid_token: The access token provided is expired, revoked" in reason
    assert "make a new token and put the new one into" in reason
    assert "fresh" not in reason


async def test_tokens_of_a_client_are_renewed_in_the_middle(zendesk, installation):
    """Tokens that end after a few calls cost logins and no user: each is called once."""
    tenant = zendesk(USERS, account={"requests_per_minute": 3_000}, token_ttl_s=1)
    installation.zendesk("zendesk", login="client_secret", requests_per_minute=600)
    placed = await installation.order("zendesk", addresses(USERS, "zendesk"))
    await installation.run()
    assert (await installation.batch(placed.id)).outcomes == {"ok": USERS}
    logins = [call for call in tenant.log.calls if call.path.endswith("/oauth/tokens")]
    assert len(logins) >= 3
    assert {call.status for call in resets(tenant)} == {200}


async def test_a_token_that_ends_before_the_batch_is_foretold(zendesk, installation):
    """The order and its dry run warn by the token's end; one that lives long enough is not spoken of."""
    users = addresses(USERS, "zendesk")
    for ttl, warned in ((20, True), (86_400, False)):
        zendesk(USERS, account={"requests_per_minute": 60}, oauth_token_ttl_s=ttl)
        installation.zendesk("zendesk", login="oauth_token", requests_per_minute=60)
        # What is told of the token is read by three calls of sixty a minute; the rest of the order is dry.
        placed = await installation.order("zendesk", users, dry_run=True)
        assert any("before the batch does" in warning for warning in placed.warnings) is warned
