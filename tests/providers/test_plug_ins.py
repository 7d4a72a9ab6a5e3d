"""A provider that another package brings: found by its entry point, and loaded when a configuration names it."""

import sys
from pathlib import Path

import made_up
import pytest

from bulkreset import providers
from bulkreset.config import load
from bulkreset.errors import ConfigError
from bulkreset.providers import kind_of, names

PLUG_IN = Path(made_up.__file__).read_text("utf-8")
OTHER_NAME = PLUG_IN.replace('name="made_up"', 'name="other"')
CONFIG = """[passwords]
key = { env = "KEY" }
[accounts.z]
provider = "zoom"
account_id = "a"
client_id = "c"
client_secret = { env = "S" }
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with a plug-in where Python finds it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(text, *, module="made_up_plug_in", name="made_up"):
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bulkreset.providers]\n{name} = {module}:KIND\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        providers._plug_in.cache_clear()

    yield install
    providers._plug_in.cache_clear()


@pytest.fixture
def read(tmp_path):
    def read(text, **more):
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return load(path, **more)

    return read


def test_it_is_loaded_when_a_configuration_names_it_and_not_before(install, read):
    """Its settings are read as strictly as those of any provider."""
    install(PLUG_IN)
    assert "made_up" in names()
    read(CONFIG)
    assert "made_up_plug_in" not in sys.modules
    account = read(CONFIG + '[accounts.m]\nprovider = "made_up"\ncolour = "red"\n').account("m")
    assert kind_of(account).title == "Made Up"
    assert providers.open_provider("m", account, None, None) == ("m", "red")
    with pytest.raises(ConfigError, match=r"config.toml:8: 'accounts.m.colour' is missing; add it"):
        read(CONFIG + '[accounts.m]\nprovider = "made_up"\n')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_that_name\n", "the package made_up_plug_in does not load: ModuleNotFoundError"),
        ("KIND = 3\n", "the package made_up_plug_in brings no ProviderKind of that name"),
        (OTHER_NAME, "the package made_up_plug_in brings no ProviderKind of that name"),
    ],
)
def test_one_that_cannot_be_used_stops_its_accounts_alone(install, read, text, told):
    """It is named with the line of the account."""
    install(text)
    config = CONFIG + '[accounts.m]\nprovider = "made_up"\n'
    with pytest.raises(ConfigError, match=f"config.toml:8: 'accounts.m': {told}"):
        read(config)
    settings = read(config, spare_others=True)
    assert (list(settings.accounts), told in settings.broken["m"]) == (["z"], True)


def test_it_takes_the_place_of_no_provider_of_ours(install, read):
    """Whoever installs a package does not thereby change what `zoom` is."""
    install("raise AssertionError('loaded')\n", name="zoom")
    assert kind_of(read(CONFIG).account("z")) is providers.KINDS["zoom"]
    assert names().count("zoom") == 1
