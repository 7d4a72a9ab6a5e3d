"""Zoom's API as far as a bulk reset can see it: OAuth, users, settings and the password itself."""

import binascii
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from bulkreset.sandbox.directory import User, digest_of
from bulkreset.sandbox.exchange import Incoming, Operation, Reply, Routes, json_reply
from bulkreset.sandbox.faults import REASONS, FaultRule, plain_reply, reply_status
from bulkreset.sandbox.limiter import Refusal
from bulkreset.sandbox.policy import ZoomPolicy, zoom_objection
from bulkreset.sandbox.ratelimits import zoom_refusal
from bulkreset.sandbox.tenant import Tenant
from bulkreset.sandbox.zoomusers import UserPages, as_user

JSON: Final = "application/json;charset=UTF-8"
LONGEST: Final = 31
MOST_TOKENS: Final = 10_000
SAME = "Your new password can not match the old password."
TOO_OFTEN = (
    "This password cannot be changed because it has already been changed the maximum number of times "
    "over the past 24 hours."
)


@dataclass(frozen=True, slots=True)
class _Grant:
    expires: float
    scopes: frozenset[str]


class Zoom:
    """One Zoom account."""

    tracking_headers: Final = ("x-zm-trackingid",)

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._grants: dict[str, _Grant] = {}
        self._pages = UserPages(tenant.directory, tenant.clock)
        self._routes = self._operations()

    def route(self, method: str, parts: list[str]) -> Incoming | None:
        """Find the operation of a path; a user is always exactly one segment, whatever it holds."""
        operation = self._routes.get((method, len(parts), *parts[:2], *parts[3:]))
        if operation is None or len(parts) == 2:
            return None if operation is None else Incoming(operation)
        ref = unquote(parts[2])
        if not operation.of_user:
            return Incoming(operation, ref)
        return Incoming(operation, ref, self._find(ref)) if ref else None

    def not_found(self) -> Reply:
        """Answer a path that Zoom does not have."""
        return _error(404, 2300, "This API endpoint is not recognized.")

    def authenticate(self, incoming: Incoming) -> Reply | None:
        """Refuse a call without a living token that holds one of the operation's scopes."""
        scheme, _, token = incoming.headers.get("Authorization", "").partition(" ")
        grant = self._grants.get(token) if scheme.lower() == "bearer" else None
        if grant is None:
            return _error(401, 124, "Invalid access token.")
        if self._tenant.clock.wall() >= grant.expires:
            return _error(401, 124, "Access token is expired.")
        wanted = incoming.operation.scopes
        if wanted.isdisjoint(grant.scopes):
            names = ", ".join(sorted(wanted))
            return _error(400, 4711, f"Invalid access token, does not contain scopes:[{names}].")
        return None

    def rate_refusal(self, incoming: Incoming, refusal: Refusal, now: float) -> Reply:
        """Answer a call above a limit."""
        label = incoming.operation.label or "Medium"
        return zoom_refusal(self._tenant, label, refusal, now)

    def rate_headers(self, _label: str, _now: float) -> dict[str, str]:
        """Zoom's normal answers say nothing about the limit."""
        return {}

    def fault_reply(self, rule: FaultRule, incoming: Incoming, now: float) -> Reply:
        """Answer a call that a fault hit."""
        if rule.kind == "429":
            kind: Refusal = "daily" if rule.daily else "window"
            label = incoming.operation.label or "Medium"
            return zoom_refusal(self._tenant, label, kind, now, self._tenant.retry_after(rule))
        if rule.kind == "401":
            return _error(401, 124, "Invalid access token.")
        if rule.kind == "403":
            return _error(403, 200, "User does not have permission or has not authorized shared access")
        status = reply_status(rule)
        error = _error(status, status, REASONS.get(status, "Error"))
        return plain_reply(rule, JSON, error.body, self._tenant.retry_after(rule) or "2")

    def revoke_tokens(self) -> None:
        """End every token at once."""
        self._grants.clear()

    def _operations(self) -> Routes:
        write = _scopes("user:write", "user:update:password")
        revoke = _scopes("user:write", "user:delete:token")
        read = _scopes("user:read", "user:read:user")
        browse = _scopes("user:read", "user:read:list_users")
        account = _scopes("account:read", "account:read:settings")
        password = Operation("set_password", "Medium", self._set_password, write, is_write=True)
        sessions = Operation("sessions", "Light", self._end_sessions, revoke, is_revocation=True)
        settings = Operation("settings", "Medium", self._account_settings, account, of_user=False)
        return {
            ("PUT", 4, "v2", "users", "password"): password,
            ("DELETE", 4, "v2", "users", "token"): sessions,
            ("GET", 3, "v2", "users"): Operation("get_user", "Light", self._get_user, read),
            ("GET", 2, "v2", "users"): Operation("list_users", "Medium", self._list_users, browse),
            ("GET", 4, "v2", "accounts", "settings"): settings,
            ("POST", 2, "oauth", "token"): Operation("token", None, self._issue),
            ("POST", 2, "oauth", "revoke"): Operation("revoke", None, self._revoke_one),
        }

    def _find(self, ref: str) -> User | None:
        directory = self._tenant.directory
        if ref == "me":  # a server-to-server app acts for the account's owner
            return next(iter(directory.of_kinds("owner")), None)
        return directory.by_id(ref) or directory.by_email(ref)

    def _set_password(self, incoming: Incoming) -> Reply:
        given = _body(incoming)
        if given is None:
            return _error(400, 300, "Request Body should be a valid JSON object.")
        password = given.get("password")
        if isinstance(password, str):
            incoming.password_sha256 = digest_of(password)
        if incoming.user is None:
            return _no_user(incoming)
        if incoming.user.kind in _NOT_RESETTABLE:
            return _NOT_RESETTABLE[incoming.user.kind]
        if not isinstance(password, str) or not password or len(password) > LONGEST:
            return _invalid("password", "Invalid field.")
        return self._change(incoming.user, password)

    def _change(self, user: User, password: str) -> Reply:
        spec, wall = self._tenant.spec, self._tenant.clock.wall()
        digest = digest_of(password)
        if digest == user.password_sha256:
            return _error(400, 300, SAME)
        if spec.max_changes_24h is not None and user.changes_24h(wall) >= spec.max_changes_24h:
            return _error(400, 300, TOO_OFTEN)
        if user.used_before(digest, spec.history):
            reused = f"Users cannot reuse any of the last {spec.history} passwords created."
            return _error(400, 1129, reused)
        objection = zoom_objection(password, self._policy)
        if objection is not None:
            return _error(400, *objection)
        user.set_password(digest, wall)
        return Reply(204, applied=True)

    @property
    def _policy(self) -> ZoomPolicy:
        policy = self._tenant.spec.policy
        return policy if isinstance(policy, ZoomPolicy) else ZoomPolicy()

    def _get_user(self, incoming: Incoming) -> Reply:
        if incoming.user is None:
            return _no_user(incoming)
        if incoming.user.kind == "pending":
            return _NOT_RESETTABLE["pending"]
        login = _LOGIN_TYPES.get(incoming.user.kind, 100)
        return json_reply(200, {**as_user(incoming.user), "login_type": login, "login_types": [login]}, JSON)

    def _list_users(self, incoming: Incoming) -> Reply:
        page = self._pages.page(incoming.parameters())
        if isinstance(page, str):
            return _invalid(page, "Invalid field.")
        if page is None:
            return _error(400, 300, "The next page token is invalid or expired.")
        return json_reply(200, page, JSON)

    def _account_settings(self, incoming: Incoming) -> Reply:
        if incoming.ref not in {"me", self._tenant.spec.account_id}:
            return _error(404, 2001, f"Account does not exist: {incoming.ref}.")
        if not self._tenant.spec.paid:  # the documented answer, under HTTP 200
            return json_reply(200, {"code": 200, "message": "Only available for paid accounts."}, JSON, 200)
        if incoming.parameters().get("option") != "security":
            return json_reply(200, {"schedule_meeting": {"host_video": False}, "in_meeting": {"chat": True}}, JSON)
        policy = self._policy
        requirement = {name: getattr(policy, name) for name in ZoomPolicy.__slots__}
        sso = {"enable": bool(self._tenant.directory.of_kinds("sso")), "domains": [], "sso_bypass_users": []}
        return json_reply(
            200,
            {"security": {"password_requirement": requirement, "signin_with_sso": sso, "sign_again_period": {}}},
            JSON,
        )

    def _end_sessions(self, incoming: Incoming) -> Reply:
        if incoming.user is None:
            return _no_user(incoming)
        if incoming.user.kind == "pending":
            return _NOT_RESETTABLE["pending"]
        incoming.user.end_sessions()
        return Reply(204, applied=True)

    def _issue(self, incoming: Incoming) -> Reply:
        refusal = self._refuse_client(incoming)
        if refusal is not None:
            return refusal
        form = incoming.parameters() | incoming.urlencoded_form()  # Zoom takes either, its own examples use both
        if form.get("grant_type") != "account_credentials":
            return _oauth_error(400, "unsupported grant type", "unsupported_grant_type")
        spec, wall = self._tenant.spec, self._tenant.clock.wall()
        if form.get("account_id") != spec.account_id:
            return _oauth_error(400, "Bad Request", "invalid_request")
        if len(self._grants) >= MOST_TOKENS:
            self._grants = {token: grant for token, grant in self._grants.items() if grant.expires > wall}
        token = secrets.token_urlsafe(48)
        self._grants[token] = _Grant(wall + spec.token_ttl_s, frozenset(spec.scopes))
        answer = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": spec.token_ttl_s,
            "scope": " ".join(spec.scopes),
            "api_url": incoming.origin,
        }
        return json_reply(200, answer, JSON)

    def _revoke_one(self, incoming: Incoming) -> Reply:
        refusal = self._refuse_client(incoming)
        if refusal is not None:
            return refusal
        form = incoming.parameters() | incoming.urlencoded_form()
        self._grants.pop(form.get("token", ""), None)
        return json_reply(200, {"status": "success"}, JSON)

    def _refuse_client(self, incoming: Incoming) -> Reply | None:
        scheme, _, encoded = incoming.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return _oauth_error(401, "Invalid client_id or client_secret", "invalid_client")
        if incoming.body and incoming.content_type != "application/x-www-form-urlencoded":
            return _oauth_error(400, "Bad Request", "invalid_request")
        spec = self._tenant.spec
        try:
            given = b64decode(encoded, validate=True)
        except binascii.Error:
            given = b""
        if given != f"{spec.client_id}:{spec.client_secret}".encode():
            return _oauth_error(400, "Invalid client_id or client_secret", "invalid_client")
        return None


def _scopes(*names: str) -> frozenset[str]:
    return frozenset(name + level for name in names for level in ("", ":admin"))


def _body(incoming: Incoming) -> Mapping[str, object] | None:
    """Read what a password call carries: JSON, or the multipart form that Zoom documented in 2021."""
    if incoming.content_type == "multipart/form-data":
        return incoming.multipart_form()
    return incoming.json_object() if incoming.content_type == "application/json" else None


def _error(status: int, code: int, message: str) -> Reply:
    return json_reply(status, {"code": code, "message": message}, JSON, code)


def _invalid(field: str, message: str) -> Reply:
    errors = [{"field": field, "message": message}]
    return json_reply(400, {"code": 300, "message": "Validation Failed.", "errors": errors}, JSON, 300)


def _oauth_error(status: int, reason: str, error: str) -> Reply:
    return json_reply(status, {"reason": reason, "error": error}, JSON, error)


def _no_user(incoming: Incoming) -> Reply:
    return _error(404, 1001, f"User does not exist: {incoming.ref}.")


_LOGIN_TYPES: Final[Mapping[str, int]] = {"sso": 101, "google": 1}
_NOT_RESETTABLE: Final[Mapping[str, Reply]] = {
    "admin": _error(400, 1117, "Can not update Admin's password"),
    "owner": _error(400, 1117, "Can not update Admin's password"),
    "sso": _error(400, 1123, "Can only update password of Zoom work email account"),
    "google": _error(400, 1123, "Can only update password of Zoom work email account"),
    "pending": _error(400, 1120, "Invitation invalid/expired."),
}
