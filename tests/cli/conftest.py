import pytest
from cli_program import Folder, SandboxThread, Terminal, Zygote


@pytest.fixture(scope="session")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def stand_ins():
    stand_ins = SandboxThread()
    yield stand_ins
    stand_ins.close()


@pytest.fixture(scope="session")
def made(zygote, stand_ins, tmp_path_factory):
    """The folder that `bulkreset init` makes, once."""
    path = tmp_path_factory.mktemp("made")
    folder = Folder(path, zygote, stand_ins.url)
    assert folder.run("init", ".").code == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A folder of its own for the test, with the accounts `zoom` and `zendesk`."""
    return made.copy(tmp_path / "folder").configure()


@pytest.fixture
def zoom(stand_ins):
    return stand_ins.add("zoom", "zoom")


@pytest.fixture
def zendesk(stand_ins):
    return stand_ins.add("zendesk", "zendesk")


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()
