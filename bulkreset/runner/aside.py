"""Work beside the polls of a worker, which may take long and must not hold them up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_WAIT_S: Final = 0.5


class Aside:
    """Starts its work at every step, unless that of an earlier step still goes on.

    What is done within half a second is done when `step` returns; what takes longer is waited for by no step.
    """

    def __init__(self, work: Callable[[], Awaitable[object]], name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether its work goes on."""
        return self._task is not None

    async def step(self, stopping: asyncio.Event) -> None:
        """Start, and wait for a moment, but not once the worker is to stop; raises what the work has raised."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([self._task, stopped], timeout=_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._task.done():
            done, self._task = self._task, None
            done.result()

    async def cancel(self) -> None:
        """Break off; what it was writing is rolled back as a whole."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._work()
