from collections.abc import AsyncIterator

import pytest
from installation import Installation

from bulkreset.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


@pytest.fixture
def installation(tmp_path, sandbox, monkeypatch) -> Installation:
    return Installation(tmp_path, sandbox.url)
