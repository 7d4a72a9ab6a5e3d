"""Every command and option that a text of ours names is one that there is."""

import re

import pytest
from command_line import ROOT_COMMAND, mentioned, options, unknown
from console_block import blocks
from story import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted([ROOT / "config.example.toml", *(ROOT / "deploy").iterdir()])
PROGRAM = sorted((ROOT / "bulkreset").rglob("*.py"))
OTHERS = {"--lanes", "--database", "--minutes", "--seed"}
"""Options of the benchmarks and the storm."""


def short(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("file", [*DOCUMENTS, *EXAMPLES], ids=short)
def test_a_command_that_a_document_names_is_one(file):
    """Documents and examples call no command and no option that the program does not have."""
    calls = mentioned(file.read_text("utf-8"))
    wrong = {" ".join(words): fault for words in calls if (fault := unknown(words))}
    assert wrong == {}


@pytest.mark.parametrize("file", DOCUMENTS, ids=short)
def test_an_option_that_a_document_names_alone_is_one(file):
    """A code span that begins with an option names one of some command."""
    named = set(re.findall(r"`(--[a-z][a-z-]*)", file.read_text("utf-8")))
    assert named - options() <= OTHERS


def test_a_command_that_the_program_advises_is_one():
    """What help and messages tell people to type, in backticks, is a command that there is."""
    wrong = {}
    for file in PROGRAM:
        text = re.sub(r"\{[^{}]*\}", "X", file.read_text("utf-8"))
        for span in re.findall(r"`(bulkreset [a-z-][^`\n\"]*)", text):
            if fault := unknown(re.sub(r"\s+X$", "", span).split()):
                wrong[f"{short(file)}: {span}"] = fault
    assert wrong == {}


def test_every_command_is_explained():
    """README's table and the guide leave out no command."""
    told = (ROOT / "README.md").read_text("utf-8") + (ROOT / "docs/operators-guide.md").read_text("utf-8")
    for name, command in ROOT_COMMAND.commands.items():
        for word in (name, *getattr(command, "commands", {})):
            assert re.search(rf"`[^`\n]*\b{word}\b", told), word


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`bulkreset batch freeze 1`", "batch has no freeze"),
        ("`batch create --canaries 3`", "create has no --canaries"),
        ("```console\nada$ bulkreset run --onze\n```", "run has no --onze"),
        (
            "```console\n$ bulkreset batch create --account zoom \\\n    --everybody\n```",
            "create has no --everybody",
        ),
        ("*/5 * * * * bulkreset /opt/bin/bulkreset --config /etc/c.toml runs --once", "bulkreset has no runs"),
        ("`bulkreset --config c.toml batch show 1 --jsn`", "show has no --jsn"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text, fault):
    """A wrong word is found in prose, in console blocks and in crontabs."""
    [found] = {unknown(words) for words in mentioned(text)}
    assert found == fault


@pytest.mark.parametrize(
    "text",
    [
        "`bulkreset help COMMAND`",
        "`bulkreset check zoom`",
        "`bulkreset report ID --format csv | grep ADDRESS`",
        "`batch approve ID --roster SHA256`",
        "`bulkreset status --config other.toml`",
    ],
)
def test_a_command_that_exists_is_accepted(text):
    """Arguments, other programs behind a pipe and options of every command raise no alarm."""
    assert [unknown(words) for words in mentioned(text)] == [None]


@pytest.mark.parametrize("block", [block for name in DOCUMENTS for block in blocks(name) if block.not_run])
def test_a_block_that_is_not_played_calls_commands_that_there_are(block):
    """What no test types is still parsed."""
    assert [fault for words in mentioned(block.text) if (fault := unknown(words))] == []
