import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Speed is measured in benchmarks/; how long an example takes on a busy machine proves nothing.
settings.register_profile("untimed", deadline=None)
settings.register_profile("few", deadline=None, max_examples=20)
settings.load_profile("untimed")

# `installation` and `databases` are shared by several folders of tests, which are not packages.
sys.path.insert(0, str(Path(__file__).parent))

SQLITE = "sqlite:///bulkreset.db"


KINDS_OF_TESTS = {
    **dict.fromkeys(("limits", "passwords", "report", "runner"), "unit"),
    **dict.fromkeys(("cli", "e2e", "intake", "providers", "sandbox", "store"), "integration"),
    "chaos": "chaos",
    **dict.fromkeys(("benchmarks_smoke", "deploy", "docs"), "docs"),
}


def pytest_collection_modifyitems(items):
    """Mark each test by its folder; what is in none is about a module at the top of the package."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        item.add_marker("unit" if folder.endswith(".py") else KINDS_OF_TESTS[folder])


@pytest.fixture(scope="session")
def postgres_server():
    from databases import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """Run the test on both databases; SQLite's file counts from the test's own folder."""
    if request.param == "sqlite":
        return SQLITE
    return request.getfixturevalue("postgres_server").fresh()


@pytest.fixture
async def sandbox():
    """Mock servers in this process, which have no tenants yet."""
    from bulkreset.sandbox import Sandbox

    sandbox = Sandbox()
    await sandbox.start()
    yield sandbox
    await sandbox.stop()
