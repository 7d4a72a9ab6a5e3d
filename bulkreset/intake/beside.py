"""Work on a roster's private database beside the event loop, so that other accounts' calls leave on time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def beside(work: Callable[..., T], *arguments: object, **options: object) -> T:
    """Do work in a thread, so that other accounts' calls leave on time meanwhile.

    A cancellation waits for the thread: what it works on must not be closed under it.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise
