"""Waiting for an event, but not for ever."""

import asyncio


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set, so many seconds at most.

    Unlike `asyncio.wait_for` it raises nothing when the time is over.
    """
    waker = asyncio.ensure_future(event.wait())
    await asyncio.wait([waker], timeout=seconds)
    waker.cancel()
