"""One command for each chore: `nox -s unit`, `nox -l` lists them. Without names: what is quick."""

import nox

nox.options.sessions = ["lint", "types", "unit"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True


def _install(session: nox.Session, extra: str = "dev") -> None:
    session.install("-e", f".[{extra}]")
    session.env.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start processes that would compile everything anew


def _test(session: nox.Session, mark: str, *options: str) -> None:
    _install(session, "test")
    session.run("pytest", "-q", "-m", mark, *options, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, form and layers."""
    _install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    _install(session)
    session.run("mypy")


@nox.session
def unit(session: nox.Session) -> None:
    """Run what needs no server and starts no process: seconds."""
    _test(session, "unit")


@nox.session
def integration(session: nox.Session) -> None:
    """Run what needs a database, the mock servers or a command line of its own."""
    _test(session, "integration", "-n", "2", "--dist", "loadfile")


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill, stop and disturb real processes."""
    _test(session, "chaos")


@nox.session
def docs(session: nox.Session) -> None:
    """Run what the documents and the deployment examples show."""
    _test(session, "docs")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure everything on a quiet machine; with `-- --quick` only see that it works."""
    _install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)
