"""Work beside the polls: done at once where it is quick, never waited for where it is not."""

import asyncio

import pytest

from bulkreset.runner.aside import Aside


async def test_what_is_quick_is_done_when_the_step_returns():
    """And is done anew at each step."""
    done = []

    async def work():
        await asyncio.sleep(0)
        done.append(len(done))

    aside = Aside(work, "work")
    for _ in range(2):
        await aside.step(asyncio.Event())
        assert not aside.busy
    assert done == [0, 1]


async def test_what_takes_long_goes_on_and_is_started_once():
    """A step that finds it under way returns; at a stop none waits at all, and it is broken off."""
    started, finish, stopping = [], asyncio.Event(), asyncio.Event()

    async def work():
        started.append(True)
        await finish.wait()

    stopping.set()
    aside = Aside(work, "work")
    await aside.step(stopping)
    await aside.step(stopping)
    assert (aside.busy, started) == (True, [True])
    finish.set()
    await aside.step(asyncio.Event())
    assert not aside.busy

    finish.clear()
    await aside.step(stopping)
    await aside.cancel()
    finish.set()
    assert started == [True, True]


async def test_what_fails_fails_the_step():
    """And the next step begins anew."""
    faults = [ValueError("once")]

    async def work():
        if faults:
            raise faults.pop()

    aside = Aside(work, "work")
    with pytest.raises(ValueError, match="once"):
        await aside.step(asyncio.Event())
    await aside.step(asyncio.Event())
    assert not aside.busy
