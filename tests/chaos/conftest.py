import program as programs
import pytest


@pytest.fixture
async def program():
    """Call the program in processes of their own; whatever is still there at the test's end is ended."""
    started = []

    async def call(config, *words):
        started.append(await programs.start(config, *words))
        return started[-1]

    yield call
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()
