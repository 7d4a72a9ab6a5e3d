"""One bad thing stops only itself: five accounts in one database, and in each of them something is damaged."""

import asyncio

from installation import addresses, check_books

from bulkreset.config import load
from bulkreset.options import Options
from bulkreset.passwords.keyfile import write_key_file
from bulkreset.report.needs import need
from bulkreset.report.status import status

EACH = 10


async def test_what_is_whole_ends_right_and_each_damaged_thing_is_named(sandbox, installation):
    """A key, options, a policy, sealed passwords, a secret and a protected list: each stops only what needs it."""
    tenants = {}
    for name in ("key", "rows", "secret", "list", "well"):
        tenants[name] = sandbox.add({"name": name, "provider": "zoom", "generate": {"count": 3 * EACH}})
        protected = {"protected": {"file": f"{name}.txt"}} if name == "list" else {}
        installation.zoom(name, requests_per_second=1000, **protected)
    listed = installation.folder / "list.txt"
    listed.write_text("ceo@example.com\n")
    people = addresses(3 * EACH)
    first, second, third = people[:EACH], people[EACH : 2 * EACH], people[2 * EACH :]
    damaged, whole = {}, {}
    key = installation.folder / "bulkreset.key"
    for name in tenants:
        if name == "key":
            key.rename(key.with_suffix(".lost"))
            write_key_file(key)
            damaged[name] = (await installation.order(name, first)).id
            key.with_suffix(".lost").replace(key)
        else:
            damaged[name] = (await installation.order(name, first)).id
        whole[name] = (await installation.order(name, second)).id
    sessions = (await installation.order("well", third, options=Options(canary=1))).id

    await spoil(installation, damaged, sessions)
    (installation.folder / "secret.secret").unlink()
    listed.write_bytes(b"\xff\xfe\x00broken")
    async with asyncio.timeout(60):
        await installation.run()

    for name in ("key", "rows", "well"):
        batch = await installation.batch(whole[name])
        assert (name, batch.state, batch.counts["succeeded"]) == (name, "done", EACH)
    rows = await installation.batch(damaged["rows"])
    assert (rows.state, rows.counts["failed"], rows.counts["succeeded"]) == ("done", 2, EACH - 2)
    for name in ("secret", "list"):
        assert tenants[name].log.total == 0 or not [c for c in tenants[name].log.calls if c.method == "PUT"]
    check_books(installation, tenants["rows"])

    named = await needs(installation)
    assert "configure the key it was sealed under" in named[damaged["key"]]
    assert "its options are damaged" in named[sessions]
    assert "secret.secret" in named[damaged["secret"]]
    assert "secret.secret" in named[whole["secret"]]
    assert "halted" in named[damaged["list"]]
    assert damaged["rows"] not in named


async def spoil(installation, damaged, sessions):
    """Alter what a bit flip or a hand in the database would."""
    options = f"UPDATE batch SET options = '{{' WHERE id = {sessions}"
    of_two = f"id IN (SELECT id FROM task WHERE batch_id = {damaged['rows']} ORDER BY id LIMIT 2)"
    sealed = f"UPDATE task SET sealed = 'AAAA', password_no = 1, maybe_landed = true WHERE {of_two}"

    async def act(store):
        async with store.write() as conn:
            await conn.exec_driver_sql(options)
            await conn.exec_driver_sql(sealed)

    await installation.with_store(act)


async def needs(installation):
    """Return what `status` says of each batch that is not finished."""
    settings = load(installation.config)

    async def act(store):
        found = await status(store, settings.accounts)
        return {one.batch.id: need(one, found) or "" for one in found.batches}

    return await installation.with_store(act)
