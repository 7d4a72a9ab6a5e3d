"""The examples in deploy/ are well-formed, and what they start is a command that there is."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from bulkreset import __version__
from bulkreset.config import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def is_a_command(*arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "bulkreset", *arguments, "--help"], capture_output=True, timeout=60, check=False
    )
    return ended.returncode == 0


@pytest.fixture
def manifests():
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def test_the_unit_starts_the_worker_and_gives_it_time_to_end():
    """Every line of the unit is an assignment in a section, and ExecStart is `bulkreset run`."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "bulkreset@.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "bulkreset"
    assert arguments == ["--config", "/var/lib/bulkreset/config.toml", "run"]
    assert int(unit["Service"]["TimeoutStopSec"]) >= 60


def test_the_unit_may_write_where_its_configuration_and_database_are():
    """`init` puts the SQLite file beside the configuration: the one folder that the strict unit may write to."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "bulkreset@.service")
    folder = Path("/var/lib") / unit["Service"]["StateDirectory"]
    assert unit["Service"]["ProtectSystem"] == "strict"
    assert unit["Service"]["WorkingDirectory"] == str(folder)
    assert str(folder / "config.toml") in shlex.split(unit["Service"]["ExecStart"])
    assert f"bulkreset init {folder}" in (DEPLOY / "bulkreset@.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_itself_finds_no_fault_in_the_unit(tmp_path):
    """`systemd-analyze verify` knows every key; that the program does not exist here is not the unit's fault."""
    unit = tmp_path / "bulkreset@1.service"
    unit.write_text((DEPLOY / "bulkreset@.service").read_text())
    said = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False
    ).stderr
    faults = [line for line in said.splitlines() if "bulkreset@" in line and "not executable" not in line]
    assert faults == []


def test_the_container_ends_in_bulkreset_run_as_nobody_special():
    """Only known instructions; no shell before the program, and no root."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert {line[0] for line in lines} <= {
        *("FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "STOPSIGNAL", "ENTRYPOINT", "CMD")
    }
    said = dict(lines)
    assert said["ENTRYPOINT"] == '["bulkreset"]'
    assert said["CMD"] == '["run"]'
    assert said["USER"] == "bulkreset"


def test_the_steps_of_the_container_make_a_program_that_runs(tmp_path):
    """Each step is run below a folder: what is built, copied and entered there is bulkreset with PostgreSQL."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    [build] = [what for name, what in steps if name == "RUN" and "venv" in what]
    [copied] = [what for name, what in steps if name == "COPY" and what.startswith("--from=build")]
    _, source, target = copied.split()
    assert source == target  # scripts name the interpreter by its path
    program = tmp_path / target.lstrip("/")
    checkout = tmp_path / "src"
    keep_out = shutil.ignore_patterns(".*", "__pycache__", "tests", "build", "dist")
    shutil.copytree(DEPLOY.parent, checkout, ignore=keep_out)
    subprocess.run(["sh", "-euc", build.replace(target, str(program))], cwd=checkout, check=True, timeout=300)
    said = dict(steps)
    [entry] = json.loads(said["ENTRYPOINT"])
    assert str(Path(target) / "bin") in said["ENV"]
    for arguments in (["--version"], [*json.loads(said["CMD"]), "--help"]):
        subprocess.run([program / "bin" / entry, *arguments], check=True, timeout=60, stdout=subprocess.DEVNULL)
    subprocess.run([program / "bin" / "python", "-c", "import asyncpg"], check=True, timeout=60)


@pytest.mark.parametrize("release", ["1.29", "1.37"])
def test_the_manifests_fit_the_schemas_of_kubernetes(release):
    """Strictly: a key that Kubernetes does not know is a fault."""
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert [one["kind"] for one in documents] == ["ConfigMap", "Job", "Deployment"]
    for document in documents:
        kubernetes_validate.validate(document, release, strict=True)


def test_the_manifests_start_commands_that_there_are(manifests):
    """The job upgrades, the deployment runs and is asked whether it is ready; the configuration is accepted."""
    for kind in ("Job", "Deployment"):
        [container] = manifests[kind]["spec"]["template"]["spec"]["containers"]
        assert is_a_command(*container["args"])
    probe, *arguments = container["readinessProbe"]["exec"]["command"]
    assert probe == "bulkreset"
    assert is_a_command(*arguments)
    data = manifests["ConfigMap"]["data"]
    settings = Settings(**tomllib.loads(data["config.toml"]))
    assert list(settings.accounts) == ["zoom-prod"]
    assert str(settings.accounts["zoom-prod"].protected.file) in data
    grace = manifests["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.http.total_timeout


def test_the_manifests_run_what_the_container_is_called(manifests):
    """One name and version for the image, and a job that is this version's own."""
    [image] = re.findall(r"-t (\S+)", (DEPLOY / "Containerfile").read_text())
    for kind in ("Job", "Deployment"):
        [container] = manifests[kind]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image == f"bulkreset:{__version__}"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert manifests["Job"]["metadata"]["name"].endswith(__version__.replace(".", "-"))


def test_the_lines_for_cron_work_without_an_environment(tmp_path):
    """The folder of `init` is enough for a run; what `check` finds wrong is printed, so that cron mails it."""
    folder = tmp_path / "state"
    subprocess.run(
        [sys.executable, "-m", "bulkreset", "init", folder], check=True, timeout=60, stdout=subprocess.DEVNULL
    )
    lines = [line for line in (DEPLOY / "bulkreset.cron").read_text().splitlines() if re.match(r"[*0-9]", line)]
    users, commands = zip(*(line.split(maxsplit=6)[5:] for line in lines), strict=True)
    assert set(users) == {"bulkreset"}
    run, check = (cron(command, folder) for command in commands)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert check.stdout.startswith("bulkreset: no account 'zoom'")


def cron(command, folder):
    """Run a line as cron does: by the shell, from another folder, with no environment to speak of."""
    here = command.replace("/opt/bulkreset/bin/bulkreset", f"{sys.executable} -m bulkreset")
    shell = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", here.replace("/var/lib/bulkreset", str(folder))]
    return subprocess.run(shell, cwd="/", capture_output=True, text=True, timeout=60, check=False)
