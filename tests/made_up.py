"""A kind of provider that nobody knows, as another package might bring it; it declares nothing."""

from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Action
from bulkreset.providers.capabilities import Capabilities
from bulkreset.providers.kind import ProviderKind
from bulkreset.settings import AccountSettings


class Settings(AccountSettings):
    colour: str

    @property
    def address(self):
        return "https://made-up.example"

    @property
    def labels(self):
        return ("default",)

    def rate(self, label):
        return Rate(100_000_000, SECOND)


KIND = ProviderKind(
    name="made_up",
    title="Made Up",
    settings=Settings,
    capabilities=Capabilities(),
    labels=dict.fromkeys(Action, "default"),
    invalid_ref=lambda _: None,
    open=lambda account, settings, base, transport: (account, settings.colour),
)
