"""Zendesk's API as far as a bulk reset can see it: users, requirements, sessions and the password itself."""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import parse_qs, unquote

from bulkreset.sandbox.directory import User, digest_of
from bulkreset.sandbox.exchange import Incoming, Operation, Reply, Routes, iso_date, json_reply
from bulkreset.sandbox.faults import REASONS, FaultRule, plain_reply, reply_status
from bulkreset.sandbox.limiter import Refusal
from bulkreset.sandbox.policy import ZendeskPolicy, zendesk_objections
from bulkreset.sandbox.ratelimits import zendesk_refusal
from bulkreset.sandbox.tenant import Tenant
from bulkreset.sandbox.zendeskauth import JSON, Logins
from bulkreset.sandbox.zendeskusers import as_user, cursor_page, offset_page

NO_ACCESS = (
    "You do not have access to this page. Please contact the account owner of this help desk for further help."
)


# The caller where the tenant has no user with the address of its credentials.
_STAND_IN_ID = "1"


class Zendesk:
    """One Zendesk account."""

    tracking_headers: Final = ("x-request-id", "x-zendesk-request-id")

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._logins = Logins(tenant)
        self._routes = self._operations()

    def route(self, method: str, parts: list[str]) -> Incoming | None:
        """Find the operation of a path, with or without `.json`; a user is always exactly one segment."""
        parts = [*parts[:-1], *(part.removesuffix(".json") for part in parts[-1:])]
        whole = self._routes.get((method, len(parts), *parts))  # no user's path: one segment more in its key
        if whole is not None:
            return Incoming(whole)
        operation = self._routes.get((method, len(parts), *parts[:3], *parts[4:]))
        if operation is None or len(parts) == 3:
            return None
        ref = unquote(parts[3])
        return Incoming(operation, ref, self._tenant.directory.by_id(ref)) if ref else None

    def not_found(self) -> Reply:
        """Answer a path that Zendesk does not have."""
        return _error(404, "InvalidEndpoint", "Not found")

    def authenticate(self, incoming: Incoming) -> Reply | None:
        """Refuse a call without an API token or an OAuth token that lives and has the scope."""
        return self._logins.authenticate(incoming)

    def rate_refusal(self, _incoming: Incoming, refusal: Refusal, now: float) -> Reply:
        """Answer a call above a limit."""
        return zendesk_refusal(self._tenant, refusal, now)

    def rate_headers(self, label: str, now: float) -> dict[str, str]:
        """Return what a normal answer says about the limit."""
        window = self._tenant.gates[label].window
        if window.limit is None or self._tenant.spec.rate_headers == "none":
            return {}
        return {"X-Rate-Limit": str(window.limit), "X-Rate-Limit-Remaining": str(window.remaining(now))}

    def fault_reply(self, rule: FaultRule, incoming: Incoming, now: float) -> Reply:
        """Answer a call that a fault hit."""
        if rule.kind == "429":
            return zendesk_refusal(self._tenant, "window", now, self._tenant.retry_after(rule))
        if rule.kind == "401":
            return self._logins.dead(incoming)
        if rule.kind == "403":
            return _FORBIDDEN
        status = reply_status(rule)
        reason = REASONS.get(status, "Error")
        error = _error(status, reason.replace(" ", ""), reason)
        return plain_reply(rule, JSON, error.body, self._tenant.retry_after(rule) or "2")

    def revoke_tokens(self) -> None:
        """End the tokens of logins; API tokens and the fixed OAuth token are settings of the account."""
        self._logins.revoke()

    def _operations(self) -> Routes:
        users = ("api", "v2", "users")
        current = Operation("current_token", "default", self._logins.show_current)
        return {
            ("POST", 5, *users, "password"): _operation("set_password", self._set_password, is_write=True),
            ("PUT", 5, *users, "password"): _operation("own_password", self._change_own, is_write=True),
            ("GET", 6, *users, "password", "requirements"): _operation("requirements", self._list_requirements),
            ("DELETE", 5, *users, "sessions"): _operation("sessions", self._end_sessions, is_revocation=True),
            ("GET", 3, *users): _operation("list_users", self._list_users),
            ("GET", 4, *users, "search"): _operation("search_users", self._find_users),
            ("GET", 4, *users, "show_many"): _operation("show_many", self._show_many),
            ("GET", 4, *users, "count"): _operation("count_users", self._count_users),
            ("GET", 4, *users): _operation("get_user", self._show_user),
            ("GET", 5, "api", "v2", "oauth", "tokens", "current"): current,
            ("POST", 2, "oauth", "tokens"): Operation("token", None, self._logins.issue),
        }

    def _set_password(self, incoming: Incoming) -> Reply:
        given = _read_passwords(incoming)
        if not (self._tenant.spec.password_setting and _is_admin(incoming.caller)):
            return _FORBIDDEN
        if incoming.user is None:
            return _NOT_FOUND
        if given is None:
            return _UNPARSABLE
        return self._change(incoming.user, given.get("password"))

    def _change_own(self, incoming: Incoming) -> Reply:
        given = _read_passwords(incoming)
        if incoming.user is None:
            return _NOT_FOUND
        if incoming.user is not incoming.caller:
            return _FORBIDDEN
        if given is None:
            return _UNPARSABLE
        previous = given.get("previous_password")
        if not isinstance(previous, str) or digest_of(previous) != incoming.user.password_sha256:
            return _invalid(["does not match the current password"])
        return self._change(incoming.user, given.get("password"))

    def _change(self, user: User, password: object) -> Reply:
        if not isinstance(password, str):
            return _NOT_A_STRING
        digest = digest_of(password)
        depth = self._tenant.spec.history
        objections = zendesk_objections(password, self._policy, user.email)
        if depth and (digest == user.password_sha256 or user.used_before(digest, depth - 1)):
            objections.append(f"must be different from the previous {depth} passwords")
        if objections:
            return _invalid(objections)
        user.set_password(digest, self._tenant.clock.wall())
        return Reply(200, b"", {"Content-Type": JSON}, applied=True)

    def _list_requirements(self, incoming: Incoming) -> Reply:
        stands_in = incoming.caller is None and incoming.ref == _STAND_IN_ID
        if incoming.user is None and not stands_in:
            return _NOT_FOUND
        return json_reply(200, {"requirements": list(self._policy.requirements)}, JSON)

    def _end_sessions(self, incoming: Incoming) -> Reply:
        if incoming.user is None:
            return _NOT_FOUND
        if _is_end_user(incoming.caller) and incoming.user is not incoming.caller:
            return _FORBIDDEN
        incoming.user.end_sessions()
        return Reply(204, applied=True)

    def _list_users(self, incoming: Incoming) -> Reply:
        if _is_end_user(incoming.caller):
            return _FORBIDDEN
        query = incoming.parameters()
        users = self._of_role(incoming)
        page = cursor_page if "page[size]" in query or "page[after]" in query else offset_page
        answer = page(users, query, f"{incoming.origin}/api/v2/users.json")
        if isinstance(answer, str):
            return _error(400, "InvalidPaginationParameter", answer)
        return json_reply(200, answer, JSON)

    def _count_users(self, incoming: Incoming) -> Reply:
        if _is_end_user(incoming.caller):
            return _FORBIDDEN
        count = len(self._of_role(incoming))
        return json_reply(
            200, {"count": {"value": count, "refreshed_at": iso_date(self._tenant.clock.wall())}}, JSON
        )

    def _find_users(self, incoming: Incoming) -> Reply:
        """Answer a search by address, which is all of Zendesk's search that a reset could use."""
        asked = incoming.parameters().get("query", "").removeprefix("email:").strip('"')
        user = self._tenant.directory.by_email(asked)
        return self._some(incoming, [] if user is None else [user])

    def _show_many(self, incoming: Incoming) -> Reply:
        ids = incoming.parameters().get("ids", "").split(",")
        return self._some(incoming, [user for one in ids if (user := self._tenant.directory.by_id(one.strip()))])

    def _some(self, incoming: Incoming, users: Sequence[User]) -> Reply:
        if _is_end_user(incoming.caller):
            return _FORBIDDEN
        return json_reply(200, offset_page(users, {}, f"{incoming.origin}/api/v2/users.json"), JSON)

    def _of_role(self, incoming: Incoming) -> Sequence[User]:
        query = parse_qs(incoming.query)
        roles = [*query.get("role", []), *query.get("role[]", [])]
        kinds = [kind for role in roles for kind in _KINDS_OF_ROLE.get(role, ())]
        return self._tenant.directory.of_kinds(*(kinds if roles else _KINDS_OF_ROLE[""]))

    def _show_user(self, incoming: Incoming) -> Reply:
        user = incoming.user
        if incoming.ref == "me":
            user = incoming.caller or User(_STAND_IN_ID, self._tenant.spec.email, "admin", "Admin")
        if user is None:
            return _NOT_FOUND
        return json_reply(200, {"user": as_user(user)}, JSON)

    @property
    def _policy(self) -> ZendeskPolicy:
        policy = self._tenant.spec.policy
        return policy if isinstance(policy, ZendeskPolicy) else ZendeskPolicy()


_KINDS_OF_ROLE: Final = {
    "": ("normal", "suspended", "admin", "owner", "agent"),
    "end-user": ("normal", "suspended"),
    "agent": ("agent",),
    "admin": ("admin", "owner"),
}


def _operation(
    name: str, run: Callable[[Incoming], Reply], *, is_write: bool = False, is_revocation: bool = False
) -> Operation:
    """Make an operation of users; those of passwords take no token that is scoped to users."""
    broad = "write" if is_write or is_revocation else "read"
    scopes = {broad} if is_write or name == "requirements" else {broad, f"users:{broad}"}
    return Operation(name, "default", run, frozenset(scopes), is_write=is_write, is_revocation=is_revocation)


def _is_admin(caller: User | None) -> bool:
    """Tell whether the caller is an admin; one without a user of its own stands in for one."""
    return caller is None or caller.kind in _KINDS_OF_ROLE["admin"]


def _is_end_user(caller: User | None) -> bool:
    return caller is not None and caller.kind in _KINDS_OF_ROLE["end-user"]


def _read_passwords(incoming: Incoming) -> dict[str, object] | None:
    given = incoming.json_object()
    is_json = incoming.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"
    if given is None or not is_json:
        return None
    password = given.get("password")
    if isinstance(password, str):
        incoming.password_sha256 = digest_of(password)
    return given


def _error(status: int, error: str, description: str) -> Reply:
    return json_reply(status, {"error": error, "description": description}, JSON, error)


def _titled(status: int, title: str, message: str) -> Reply:
    return json_reply(status, {"error": {"title": title, "message": message}}, JSON, title)


def _invalid(objections: list[str]) -> Reply:
    details = {"password": [{"description": f"Password: {text}"} for text in objections]}
    body = {"error": "RecordInvalid", "description": "Record validation errors", "details": details}
    return json_reply(422, body, JSON, "RecordInvalid")


_FORBIDDEN: Final = _titled(403, "Forbidden", NO_ACCESS)
_NOT_FOUND: Final = _error(404, "RecordNotFound", "Not found")
_UNPARSABLE: Final = json_reply(
    422, {"error": "Unprocessable Entity", "message": "Server could not parse JSON"}, JSON, "Unprocessable Entity"
)
_NOT_A_STRING: Final = _titled(
    400,
    "Invalid attribute",
    "You passed an invalid value for the password attribute. Invalid parameter: password must be a string",
)
