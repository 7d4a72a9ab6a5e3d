"""Answers that cannot be read, and users who end otherwise after one: nobody is taken for untouched."""

import asyncio
import json
import re
from contextlib import asynccontextmanager

import pytest
from installation import addresses

from bulkreset.model import Outcome
from bulkreset.options import Options
from bulkreset.report import queries
from bulkreset.store import lifecycle

ODD = '{"code":9,"message":"odd"}'
TOKEN = json.dumps({"access_token": "t", "expires_in": 3600, "scope": "user:write:admin"}).encode()
MYSELF = b'{"id": "ME", "email": "owner@example.com"}'
LONG_HEADER = b"HTTP/1.1 204 No Content\r\nX-Policy: " + b"a" * 70_000 + b"\r\n\r\n"
LONG_BUT_READ = b"HTTP/1.1 204 No Content\r\nX-Policy: " + b"a" * 60_000 + b"\r\nContent-Length: 4\r\n\r\nbody"


class RawZoom:
    """A Zoom that logs in and answers every write with the bytes it is given."""

    def __init__(self, answer):
        self.answer = answer
        self.writes = 0
        self.enough = asyncio.Event()

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search(r"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                if head.startswith(("PUT", "DELETE")):
                    self.writes += 1
                    writer.write(self.answer)
                else:
                    body = TOKEN if "/oauth/token" in head else MYSELF
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_zoom(installation, answer, **account):
    zoom = RawZoom(answer)
    listener = await asyncio.start_server(zoom.serve, "127.0.0.1", 0)
    installation.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    installation.zoom("zoom", **account)
    try:
        yield zoom
    finally:
        listener.close()


async def until(installation, sql):
    async with asyncio.timeout(60):
        while not (found := installation.query(sql)):  # noqa: ASYNC110  (the database has no event for it)
            await asyncio.sleep(0.05)
    return found


async def test_an_account_whose_answers_cannot_be_read_pauses_after_a_handful(installation):
    """Each such call may change a password that nobody knows of: sending stops, and says which part is wrong."""
    async with raw_zoom(installation, LONG_HEADER, requests_per_second=20) as zoom:
        placed = await installation.order("zoom", addresses(300))

        async def stop(worker):
            await until(installation, "SELECT 1 FROM quota WHERE pause_reason IS NOT NULL")
            worker.stop()

        await installation.run(once=False, meanwhile=stop)
    [(reason,)] = installation.query("SELECT pause_reason FROM quota")
    assert reason.startswith("the answers cannot be read: ")
    assert reason.endswith("the answer is not proper HTTP: a header is too long")
    assert 5 <= zoom.writes < 60
    batch = await installation.batch(placed.id)
    assert batch.maybe_changed == {"pending": zoom.writes}
    assert batch.counts["failed"] == 0


async def test_odd_but_readable_answers_are_successes_for_both_actions(installation):
    """A long header and a body after the 204 reset and sign out as any other answer does."""
    async with raw_zoom(installation, LONG_BUT_READ, requests_per_second=1000) as zoom:
        placed = await installation.order("zoom", addresses(10), options=Options(revoke_sessions=True))
        await installation.run()
    batch = await installation.batch(placed.id)
    assert (batch.outcomes, batch.sessions["succeeded"], batch.in_doubt) == ({"ok": 10}, 10, 0)
    assert zoom.writes == 20


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("code", "state"),
    [(9, "failed"), (1010, "failed"), (1117, "skipped")],
)
async def test_whoever_ends_otherwise_after_a_lost_answer_is_told_as_in_doubt(zoom, installation, code, state):
    """The call was carried out and its answer lost; what the next one says must not hide that."""
    users = addresses(3)
    tenant = zoom(
        3,
        faults=[
            {"kind": "apply_drop", "users": [users[0]], "times": 1},
            {"kind": "answer", "status": 400, "body": ODD.replace("9", str(code)), "users": users[:2]},
        ],
    )
    placed = await installation.order("zoom", users, options=Options(revoke_sessions=True))
    await installation.run()
    assert next(user for user in tenant.users if user.email == users[0]).applied == 1
    batch = await installation.batch(placed.id)
    assert (batch.maybe_changed, batch.clean) == ({state: 1}, False)

    async def read(store):
        return [line async for line in queries.tasks(store, placed.id)]

    lines = {(line.user, line.action): line for line in await installation.with_store(read)}
    doubted, refused, _ = (lines[user, "set_password"] for user in users)
    assert doubted.said.startswith("an earlier call may have changed it; ")
    assert (doubted.maybe_changed, doubted.calls, refused.maybe_changed, refused.calls) == (True, 2, False, 1)
    assert "nobody knows" in lines[users[0], "revoke_sessions"].message
    assert "no password was set" in lines[users[1], "revoke_sessions"].message
    found = installation.query(
        "SELECT DISTINCT code FROM task WHERE action = 'revoke_sessions' AND state = 'skipped'"
    )
    assert found == [("no_password",)]


async def test_who_is_cancelled_while_nobody_knows_is_told_as_in_doubt(zendesk, installation):
    """A 200 that denies leaves it open whether the password is set; a cancel does not settle that."""
    zendesk(10, faults=[{"kind": "answer", "status": 200, "body": '{"success": false}'}])
    placed = await installation.order("zendesk", addresses(10, "zendesk"))

    async def stop(worker):
        await until(installation, "SELECT 1 FROM quota WHERE pause_reason IS NOT NULL")
        worker.stop()

    await installation.run(once=False, meanwhile=stop)
    called = installation.query("SELECT count(*) FROM attempt WHERE sent_at IS NOT NULL")[0][0]
    await installation.steer(lifecycle.cancel, placed.id, "tester")
    batch = await installation.batch(placed.id)
    assert batch.maybe_changed == {"cancelled": called}
    assert batch.counts["cancelled"] == 10
    assert batch.counts["succeeded"] == 0
    assert set(batch.outcomes) <= {Outcome.UNKNOWN, Outcome.RELEASED}
