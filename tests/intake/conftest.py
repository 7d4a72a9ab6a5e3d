import pytest
from fake_account import Account

from bulkreset.config import Settings
from bulkreset.intake import closeout, order
from bulkreset.intake.concerns import QUESTIONS, Concern
from bulkreset.intake.order import Order, chunks, place
from bulkreset.intake.users_file import user_line
from bulkreset.passwords.vault import MasterKey, new_master_key_text
from bulkreset.secret import Secret
from bulkreset.settings import DatabaseSettings
from bulkreset.store.engine import open_store
from bulkreset.store.migrate import upgrade
from bulkreset.store.place import place_of

KINDS = {
    "zoom": {"provider": "zoom", "account_id": "a", "client_id": "c", "client_secret": {"env": "NONE"}},
    "zendesk": {
        "provider": "zendesk",
        "subdomain": "acme",
        "requests_per_minute": 100_000_000,
        "email": "api@x.org",
        "api_token": {"env": "NONE"},
    },
    "made_up": {"provider": "made_up", "colour": "red"},
}


class Desk:
    """Where orders come in: a store, the settings, and accounts without a network."""

    def __init__(self, store, url, monkeypatch):
        self.store = store
        self.url = url
        self.master = MasterKey.parse(Secret(new_master_key_text()))
        self.accounts = {}
        self.told = {}
        self.passwords = {"key": {"env": "NONE"}}
        for module in (order, closeout):
            monkeypatch.setattr(module, "open_provider", lambda name, *_: self.accounts[name])

    def account(self, users=(), *, kind="zoom", settings=None, **more):
        """Add the account `acme`; `settings` are what its table in the configuration has beside the usual."""
        rate = {"requests_per_second": 100_000_000} if kind == "zoom" else {}
        self.told["acme"] = {**KINDS[kind], **rate, "protected": "none", **(settings or {})}
        self.accounts["acme"] = Account(users, kind=kind, **more)
        return self.accounts["acme"]

    @property
    def settings(self):
        return Settings.model_validate({"passwords": self.passwords, "accounts": self.told})

    async def order(self, *users, excluded=(), dry_run=False, master=True, accept=None, **told):
        """Place an order at `acme`; return what was placed. Without `accepts` everything is accepted."""
        told.setdefault("accepts", QUESTIONS | {Concern.UNKNOWN_NAMES})
        return await place(
            self.store,
            self.settings,
            None,
            self.master if master else None,
            Order("acme", "INC-1", "a test", "tester", **told),
            users=chunks(user_line(text, n, "users") for n, text in enumerate(users, 1)),
            excluded=chunks(user_line(text, n, "excluded") for n, text in enumerate(excluded, 1)),
            dry_run=dry_run,
            accept=accept,
            sleep=_at_once,
        )


@pytest.fixture
async def desk(tmp_path, monkeypatch):
    settings = DatabaseSettings(url="sqlite:///bulkreset.db")
    await upgrade(place_of(settings, tmp_path))
    store = await open_store(settings, tmp_path)
    yield Desk(store, tmp_path, monkeypatch)
    await store.close()


async def _at_once(_):
    pass
