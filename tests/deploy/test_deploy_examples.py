"""The examples in deploy/ are well-formed, and what they start is a command that there is."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

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
    assert arguments == ["--config", "/etc/bulkreset/config.toml", "run"]
    assert int(unit["Service"]["TimeoutStopSec"]) >= 60


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


def test_the_manifests_start_commands_that_there_are(manifests):
    """The job upgrades, the deployment runs; both name a config that the program accepts."""
    assert set(manifests) == {"ConfigMap", "Job", "Deployment"}
    for kind in ("Job", "Deployment"):
        [container] = manifests[kind]["spec"]["template"]["spec"]["containers"]
        assert is_a_command(*container["args"])
    settings = Settings(**tomllib.loads(manifests["ConfigMap"]["data"]["config.toml"]))
    assert list(settings.accounts) == ["zoom-prod"]
    grace = manifests["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.http.total_timeout
