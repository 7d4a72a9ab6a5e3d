"""What an account must have given before calls may leave: a login, and the policy that passwords are built to."""

import math
import random
from time import monotonic
from typing import Final

from bulkreset.errors import ProviderError, ProviderUnavailable, StoreError
from bulkreset.limits.quota import Spacing
from bulkreset.logs import logger
from bulkreset.model import Quota
from bulkreset.providers.base import Auth, Provider
from bulkreset.runner.context import Context
from bulkreset.runner.decide import backoff
from bulkreset.store import batches
from bulkreset.store.pace import Pacer

_POLICY_GOOD_FOR_S: Final = 60.0


class Login:
    """The login of one lane's calls, tried ever more rarely while it is away."""

    def __init__(self, auth: Auth, account: str) -> None:
        self.number = 0  # which login calls carry: one more after each refusal of the current one
        self.again_at = -math.inf  # when it is tried next
        self._auth = auth
        self._account = account
        self._failures = 0

    async def have(self) -> bool:
        """Tell whether there is a login now; where it is away, `again_at` says when to ask next.

        Raises ProviderRefused.
        """
        if monotonic() < self.again_at:
            return False
        try:
            await self._auth.prepare()
        except ProviderUnavailable as error:
            wait = backoff(self._failures, random.random())  # noqa: S311  (spreads waits, guards nothing)
            self._failures += 1
            self.again_at = monotonic() + wait.total_seconds()
            logger().warning("login_delayed", account=self._account, reason=str(error))
            return False
        self._failures = 0
        return True

    def refused(self, generation: int) -> None:
        """Note that calls with this token were refused: nothing leaves before there is another."""
        self.number += 1
        self._auth.invalidate(generation)


class KnownPolicy:
    """The password policy as it was read last, and whether it may have changed since."""

    def __init__(self, context: Context, which: Quota, provider: Provider) -> None:
        self.doubted = False
        self._context = context
        self._quota = which
        self._provider = provider
        self._read_at = -math.inf

    @property
    def fresh(self) -> bool:
        """Whether it was read so lately that reading it again would tell nothing new."""
        return monotonic() - self._read_at < _POLICY_GOOD_FOR_S

    def older_than(self, started: float) -> bool:
        """Whether a call that started then may carry a password that is built to an older policy."""
        return self.doubted or started < self._read_at

    async def read(self, spacing: Spacing) -> None:
        """Read it anew, so that the next passwords are built to it; what is known stays where that fails."""
        try:
            policy = await self._provider.policy(Pacer(self._context.store, self._quota, spacing))
            wanted = policy.with_wishes(self._context.wishes)
            await batches.set_policy(self._context.store, self._quota.account, wanted.as_json())
        except (ProviderError, StoreError) as error:
            logger().warning("policy_not_read", account=self._quota.account, reason=str(error))
        self.doubted, self._read_at = False, monotonic()
