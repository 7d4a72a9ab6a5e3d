import pytest
from installation import Installation

from bulkreset.runner import decide
from bulkreset.sandbox import parse_rule


@pytest.fixture
def installation(tmp_path, sandbox, monkeypatch) -> Installation:
    return Installation(tmp_path, sandbox.url)


@pytest.fixture
def zoom(sandbox, installation):
    def make(count=40, faults=(), account=None, **spec):
        """Add a tenant and an account at it."""
        spec = spec if "users" in spec else {"generate": {"count": count}, **spec}
        tenant = sandbox.add({"name": "zoom", "provider": "zoom", **spec})
        tenant.faults.add([parse_rule(rule) for rule in faults])
        installation.zoom("zoom", **_fast(account or {}, requests_per_second=1000))
        return tenant

    return make


@pytest.fixture
def zendesk(sandbox, installation):
    def make(count=40, faults=(), account=None, **spec):
        """Add a tenant and an account at it."""
        spec = spec if "users" in spec else {"generate": {"count": count}, **spec}
        tenant = sandbox.add({"name": "zendesk", "provider": "zendesk", **spec})
        tenant.faults.add([parse_rule(rule) for rule in faults])
        installation.zendesk("zendesk", **_fast(account or {}, requests_per_minute=60_000))
        return tenant

    return make


def _fast(account, **rate):
    """Give an account a high rate where it says nothing about its own."""
    return account if {"plan", *rate} & account.keys() else {**rate, **account}


@pytest.fixture
def impatient(monkeypatch):
    """Let tasks that go back after a failure fall due soon: how long they wait is tested elsewhere."""
    monkeypatch.setattr(decide, "_BACKOFF_FIRST_S", 0.1)
