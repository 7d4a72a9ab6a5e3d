"""Zendesk's logins: API tokens of any verified user, OAuth tokens with scopes and an end, and the OAuth grant.

The grant: developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens. A token about itself:
/api-reference/ticketing/oauth/oauth_tokens. Scopes: `read` is every GET and `write` everything else.
"""

import binascii
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from bulkreset.sandbox.exchange import Incoming, Reply, iso_date, json_reply
from bulkreset.sandbox.tenant import Tenant

JSON: Final = "application/json; charset=utf-8"
MOST_TOKENS: Final = 10_000
LIFE_S: Final = 1800  # where a login does not ask for another
SHORTEST_S: Final = 300
LONGEST_S: Final = 172_800
_SHOWN: Final = 10  # characters of a token that it shows of itself

_UNVERIFIED: Final = frozenset({"missing", "suspended"})


@dataclass(frozen=True, slots=True)
class Grant:
    """One OAuth token: what it may do, when it was made, and when it ends, if it does."""

    number: int
    scopes: frozenset[str]
    created: float
    expires: float | None


class Logins:
    """Who may call one account, and as whom."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._grants: dict[str, Grant] = {}
        self._issued = 0
        self._started = tenant.clock.wall()

    def revoke(self) -> None:
        """End every token that a login gave; the fixed ones are settings of the account."""
        self._grants.clear()

    def authenticate(self, incoming: Incoming) -> Reply | None:
        """Find who calls, or refuse: 401 without a living login, 403 for a token without the scope."""
        scheme, _, given = incoming.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            grant = self._grant(given)
            if grant is None:
                return DEAD_TOKEN
            incoming.caller = self._tenant.directory.by_email(self._tenant.spec.email)
            wanted = incoming.operation.scopes
            if wanted and wanted.isdisjoint(grant.scopes):
                return _missing_scope(wanted)
            return None
        name, _, token = (_decode(given) if scheme.lower() == "basic" else "").partition("/token:")
        caller = self._tenant.directory.by_email(name) if name else None
        known = name == self._tenant.spec.email or (caller is not None and caller.kind not in _UNVERIFIED)
        if not known or token != self._tenant.spec.api_token:
            return UNAUTHENTICATED
        incoming.caller = caller
        return None

    def dead(self, incoming: Incoming) -> Reply:
        """Refuse a login in the form that it has."""
        bearer = incoming.headers.get("Authorization", "").lower().startswith("bearer ")
        return DEAD_TOKEN if bearer else UNAUTHENTICATED

    def issue(self, incoming: Incoming) -> Reply:
        """Answer the client-credentials grant; the answer tells `expires_in` only where it was asked for."""
        given = _fields(incoming)
        spec, wall = self._tenant.spec, self._tenant.clock.wall()
        if given.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "The authorization grant type is not supported.")
        if (given.get("client_id"), given.get("client_secret")) != (spec.client_id, spec.client_secret):
            return _oauth_error(401, "invalid_client", "Client authentication failed due to unknown client.")
        scopes = frozenset(given.get("scope", "read").split())
        if not scopes <= set(spec.token_scopes):
            return _oauth_error(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed.")
        asked = given.get("expires_in")
        if asked is not None and not (asked.isdecimal() and SHORTEST_S < int(asked) < LONGEST_S):
            return _oauth_error(400, "invalid_request", "expires_in is not above 300 and below 172800.")
        life = min(int(asked or LIFE_S), spec.token_ttl_s)
        if len(self._grants) >= MOST_TOKENS:
            self._grants = {
                token: grant for token, grant in self._grants.items() if (grant.expires or wall) > wall
            }
        token = secrets.token_hex(32)
        self._issued += 1
        self._grants[token] = Grant(self._issued, scopes, wall, wall + life)
        answer = {"access_token": token, "token_type": "bearer", "scope": " ".join(sorted(scopes))}
        return json_reply(200, answer if asked is None else {**answer, "expires_in": life}, JSON)

    def show_current(self, incoming: Incoming) -> Reply:
        """Show a token about itself; there is none behind an API token."""
        token = incoming.headers.get("Authorization", "").partition(" ")[2]
        grant = self._grant(token)
        if grant is None:
            return json_reply(404, {"error": "RecordNotFound", "description": "Not found"}, JSON, "RecordNotFound")
        user = incoming.caller
        shown = {
            "id": grant.number,
            "client_id": 1,
            "user_id": int(user.id) if user is not None else 1,
            "scopes": sorted(grant.scopes),
            "token": token[:_SHOWN],
            "created_at": iso_date(grant.created),
            "expires_at": None if grant.expires is None else iso_date(grant.expires),
        }
        return json_reply(200, {"token": shown}, JSON)

    def _grant(self, token: str) -> Grant | None:
        spec = self._tenant.spec
        grant = self._grants.get(token)
        if token == spec.oauth_token:
            life = spec.oauth_token_ttl_s
            ends = None if life is None else self._started + life
            grant = Grant(0, frozenset(spec.token_scopes), self._started, ends)
        if grant is None or (grant.expires is not None and self._tenant.clock.wall() >= grant.expires):
            return None
        return grant


def _decode(encoded: str) -> str:
    try:
        return b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _fields(incoming: Incoming) -> Mapping[str, str]:
    """Read a login's fields, from the JSON object that is documented or from a form."""
    given = incoming.json_object()
    if given is not None:
        return {name: str(value) for name, value in given.items()}
    return {name: values[-1] for name, values in parse_qs(incoming.body.decode("utf-8", "replace")).items()}


def _oauth_error(status: int, error: str, description: str) -> Reply:
    return json_reply(status, {"error": error, "error_description": description}, JSON, error)


def _missing_scope(wanted: frozenset[str]) -> Reply:
    scope = min(wanted, key=len)  # the broad one
    description = f"You are missing the following required scopes: {scope}"
    return json_reply(403, {"error": "Forbidden", "description": description}, JSON, "Forbidden")


UNAUTHENTICATED: Final = json_reply(
    401,
    {"error": "Couldn't authenticate you"},
    JSON,
    "Couldn't authenticate you",
    WWW_Authenticate='Basic realm="Web Password"',
)
DEAD_TOKEN: Final = json_reply(
    401,
    {
        "error": "invalid_token",
        "error_description": (
            "The access token provided is expired, revoked, malformed or invalid for other reasons."
        ),
    },
    JSON,
    "invalid_token",
    WWW_Authenticate='Bearer realm="Zendesk", error="invalid_token"',
)
