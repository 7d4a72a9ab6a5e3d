"""What the documents show is what happens: console blocks are typed in order, other blocks are checked."""

import re
import subprocess
import tomllib

import pytest
from console_block import blocks
from story import DATABASE, ROOT, Story

from bulkreset.config import load

DOCUMENTS = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("operators-guide", "runbook", "sandbox", "scaling", "security", "reliability")
    ),
)
REASONS = {
    "CI runs it from this page",
    "CI runs the demo from the wheel",
    "takes ten minutes",
}
LANGUAGES = {"console", "toml", "sh", "cron", "sql", "sudoers", "text"}
BASE = {
    "database": {"url": "sqlite:///bulkreset.db"},
    "passwords": {"key": {"file": "bulkreset.key"}},
}
ZOOM = {
    "provider": "zoom",
    "plan": "business",
    "account_id": "abc",
    "client_id": {"env": "ZOOM_CLIENT_ID"},
    "client_secret": {"env": "ZOOM_CLIENT_SECRET"},
}
ZENDESK = {
    "provider": "zendesk",
    "plan": "enterprise",
    "subdomain": "example",
    "client_id": "bulkreset",
    "client_secret": {"env": "ZENDESK_CLIENT_SECRET"},
}


def those(*languages):
    return [
        pytest.param(block, id=f"{name}:{block.line}")
        for name in DOCUMENTS
        for block in blocks(ROOT / name)
        if block.language in languages
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_story_can_be_followed_word_by_word(name, tmp_path, request):
    """From an empty folder each command prints what the document shows, and one that shows no output succeeds."""
    story = [block for block in blocks(ROOT / name) if block.language == "console" and not block.not_run]
    if not story:
        pytest.skip("it shows no commands that run here")
    needs_database = any(DATABASE in block.text for block in story)
    database = request.getfixturevalue("postgres_server").fresh(tables=False) if needs_database else None
    with Story(tmp_path, database) as player:
        for block in story:
            for step in block.steps():
                _, printed, wrong = player.follow(step)
                assert wrong is None, f"{name}:{step.line}: {step.command}\n  shown: {wrong}\n  printed: {printed}"


@pytest.mark.parametrize("block", those("console"))
def test_what_is_not_run_says_why(block):
    """A block that no test types carries one of few reasons."""
    assert block.not_run is None or block.not_run in REASONS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_fence_says_what_it_holds(name):
    """No commands hide from the tests: each block has a language that is known here, and none is only indented."""
    text = (ROOT / name).read_text("utf-8")
    begins = re.findall(r"^ *```(.*)$", text, re.MULTILINE)[::2]
    assert set(begins) <= LANGUAGES
    assert not re.findall(r"\n\n    \S.*", text)


@pytest.mark.parametrize("block", those("toml"))
def test_a_configuration_that_is_shown_is_accepted(block, tmp_path):
    """Every TOML block loads, its accounts and tables completed by what it leaves out."""
    tables = {**BASE, **tomllib.loads(block.text)}
    for name, account in tables.get("accounts", {}).items():
        known = ZENDESK if account.get("provider", name) == "zendesk" else ZOOM
        given = {"provider", "account_id", "subdomain"} <= account.keys() or "client_secret" in account
        tables["accounts"][name] = account if given else {**known, **account}
    config = tmp_path / "config.toml"
    config.write_text(written(tables), "utf-8")
    config.chmod(0o600)
    (tmp_path / "bulkreset.key").write_text("")
    assert set(load(config).accounts) == set(tables.get("accounts", {}))


@pytest.mark.parametrize("block", those("sh", "bash"))
def test_a_script_that_is_shown_is_one(block):
    """Every shell script parses."""
    ended = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("block", those("cron"))
def test_a_crontab_that_is_shown_is_one(block):
    """Every line has five fields of time, and a command that there is, with a configuration named in full."""
    for line in block.text.splitlines():
        assert re.match(r"(?:[\d*/,-]+ ){5}", line), line
        assert re.search(r"/bulkreset --config /\S+ (run --once|check [\w-]+)", line), line


def written(tables):
    """Write tables as TOML."""

    def value(given):
        if isinstance(given, dict):
            return "{" + ", ".join(f"{key} = {value(inner)}" for key, inner in given.items()) + "}"
        if isinstance(given, list):
            return "[" + ", ".join(map(value, given)) + "]"
        return (
            str(given).lower()
            if isinstance(given, bool)
            else repr(given)
            if isinstance(given, int)
            else f'"{given}"'
        )

    return "".join(f"{key} = {value(given)}\n" for key, given in tables.items())
