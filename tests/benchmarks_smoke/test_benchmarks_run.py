"""`python -m benchmarks` works; what it measures is judged by a full run, on a quiet machine."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from socket import gethostname

CHECKOUT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)


def test_a_quick_run_prints_its_table_and_keeps_its_samples(tmp_path):
    """Every measure is a line of the table and has its raw samples, with the machine, in the CSV."""
    results = tmp_path / "results.csv"
    ended = benchmarks("--quick", "--only", "limit-60", "--results", results)
    assert ended.returncode == 0, ended.stderr
    heading, *lines = ended.stdout.splitlines()
    assert heading.split() == ["benchmark", "measure", "median", "range", "bound"]
    with results.open(encoding="utf-8", newline="") as file:
        samples = list(csv.DictReader(file))
    kept = {row["measure"]: row["sample"] for row in samples}
    assert kept["users not reset: PostgreSQL, 4 workers"] == "0"
    assert kept["refused: PostgreSQL, 4 workers"] == "0"
    for row in samples:
        assert row["benchmark"] == "limit 60/s"
        assert "Python" in row["machine"]
        assert any(row["measure"] in line for line in lines)


def test_the_results_name_no_machine_and_no_path(tmp_path):
    """The raw samples can be published as they are."""
    results = tmp_path / "results.csv"
    benchmarks("--quick", "--only", "help", "--results", results)
    text = results.read_text(encoding="utf-8")
    assert "bulkreset --help" in text
    assert str(CHECKOUT) not in text
    assert sys.prefix not in text
    assert not re.search(rf"\b{re.escape(gethostname())}\b", text)


def test_two_runs_add_to_one_file(tmp_path):
    """Older results stay where they are."""
    results = tmp_path / "results.csv"
    benchmarks("--quick", "--only", "help", "--results", results)
    first = results.read_text(encoding="utf-8")
    benchmarks("--quick", "--only", "help", "--results", results)
    heading, *second = results.read_text(encoding="utf-8").removeprefix(first).splitlines()
    assert results.read_text(encoding="utf-8").startswith(first)
    assert "help" in heading
    assert len(second) + 2 == len(first.splitlines())


def test_a_benchmark_that_does_not_exist_is_wrong_usage():
    """A misspelt name is refused, and the names there are are shown."""
    ended = benchmarks("--only", "limits")
    assert ended.returncode == 2
    assert "uncapped" in ended.stderr
