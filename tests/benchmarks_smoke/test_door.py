"""The door of tests and benchmarks counts as a strict provider does, and stands still where it is told."""

import asyncio

from benchmarks.door import Door, fullest

USERS = ["a@example.org", "b@example.org", "c@example.org"]


async def call(port, user):
    """Set one user's password over a connection of its own; return the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"PUT /v2/users/{user}/password HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return (await reader.readline()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_one_call_more_than_the_limit_is_refused_until_the_window_has_moved_on():
    """In any window of a second so many calls are taken, and no more."""
    now = 100.0
    async with Door(USERS, limit=2, clock=lambda: now).opened() as door:
        answers = [await call(door.port, user) for user in USERS]
        now = 101.0
        answers.append(await call(door.port, "id9"))
    assert [" 204 " in answer for answer in answers] == [True, True, False, True]
    assert door.refused == 1
    assert door.users == {*USERS[:2], "id9"}


async def test_only_the_way_that_is_told_stands_still():
    """A call on another way is answered while one on the stalled way has not arrived."""
    door = Door(USERS, ways=2, stall_after=1, stall_s=3_600.0, stalled=frozenset({0}))
    async with door.opened(), asyncio.timeout(30):
        await call(door.ports[0], USERS[0])
        held = asyncio.create_task(call(door.ports[0], USERS[1]))
        assert " 204 " in await call(door.ports[1], USERS[2])
        assert door.users == {USERS[0], USERS[2]}
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)


def test_the_fullest_window_slides_and_leaves_its_end_out():
    """Calls that straddle a full second count together; calls a whole second apart do not."""
    assert fullest([0.0, 0.9, 1.0, 1.1, 1.8]) == 4
    assert fullest([0.0, 1.0, 2.0]) == 1
    assert fullest([]) == 0
