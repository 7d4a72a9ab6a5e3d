"""The reckoning after a storm: the sandbox's own record held against the database, independent of the product."""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass

FINAL = {"succeeded", "failed", "skipped", "cancelled"}
SPECIAL = {"admin": "skipped", "sso": "skipped", "pending": "skipped", "missing": "failed"}
# A user that nothing is wrong with may fail only because the attempts that it gets were all spoilt.
SPENT = {"provider_error", "unreachable", "unknown", "policy_rejected", "forbidden"}
REFUSED = {"policy_rejected", "same_password"}


@dataclass(frozen=True, slots=True)
class Window:
    """The fullest half-open window of a tenant's rate class, and the calls that lie in it."""

    limit: int
    most: int
    calls: list


def fullest_window(tenant):
    """Slide the provider's window over the arrival of every call of its main rate class."""
    spec = tenant.spec
    label = tenant.main_gate.label
    calls = [call for call in tenant.log.calls if call.label == label]
    times = [call.t for call in calls]
    most, where = 0, 0
    for first, begin in enumerate(times):
        count = bisect_left(times, begin + spec.window, lo=first) - first
        if count > most:
            most, where = count, first
    return Window(spec.limit, most, calls[where : where + most])


def writes_of(tenant):
    """Every password write that arrived, with the task and the attempt that its id names."""
    return [
        (*map(int, call.request_id.split("-")), call)
        for call in tenant.log.calls
        if call.method in {"PUT", "POST"} and call.path.endswith(("/password", "/password.json"))
    ]


class Books:
    """All that the database knows, read once at the end; `check` returns what does not hold."""

    def __init__(self, query, journal):
        self.tasks = {
            row[0]: row
            for row in query(
                "SELECT id, batch_id, account, user_ref, state, outcome, attempt, password_no, sealed FROM task"
            )
        }
        self.attempts = {
            (row[0], row[1]): row
            for row in query(
                "SELECT task_id, n, password_no, outcome, worker, closed_at, message, slot_at, sent_at "
                "FROM attempt"
            )
        }
        self.batches = query("SELECT id, account, state, total, wrapped_key FROM batch ORDER BY id")
        self.made = defaultdict(set)
        for line in journal.read_text().splitlines():
            key, digest = line.split()
            task_id, password_no, _ = key.split(":", 2)
            self.made[int(task_id), int(password_no)].add(digest)

    def check(self, tenants):
        """Return every violation as one line; `tenants` by the name of their account."""
        found = [*self._states(), *self._attempts()]
        for name, tenant in tenants.items():
            found += [f"{name}: {line}" for line in (*self._calls(name, tenant), *self._limit(tenant))]
            found += [f"{name}: {line}" for line in self._passwords(name, tenant)]
        return found

    def figures(self, tenants):
        """Count what happened."""
        ended = Counter(row[3] for row in self.attempts.values())
        sent = Counter(task for tenant in tenants.values() for _, task, _, _ in writes_of(tenant))
        renewed = Counter(row[7] for row in self.tasks.values() if row[7] > 1)
        return {
            "calls": sum(sent.values()),
            "resends": sum(count - 1 for count in sent.values()),
            "unknown": ended["unknown"],
            "rescued": sum((row[6] or "").startswith("the runner was lost") for row in self.attempts.values()),
            "confirmed": ended["confirmed"],
            "released": ended["released"],
            "renewed_passwords": sum(renewed.values()),
            "users": dict(Counter(row[4] for row in self.tasks.values())),
            "batches": dict(Counter(row[2] for row in self.batches)),
            "injected": dict(
                sorted(Counter(c.fault for t in tenants.values() for c in t.log.calls if c.fault).items())
            ),
        }

    def _states(self):
        counts = Counter(row[1] for row in self.tasks.values())
        for batch_id, _, state, total, wrapped in self.batches:
            if counts[batch_id] != total:
                yield f"batch {batch_id} has {counts[batch_id]} tasks for a roster of {total}"
            if state not in ("done", "cancelled"):
                yield f"batch {batch_id} ended {state}"
            if wrapped is not None:
                yield f"batch {batch_id} still has its key"
        cancelled = {row[0] for row in self.batches if row[2] == "cancelled"}
        for row in self.tasks.values():
            if row[4] not in FINAL:
                yield f"task {row[0]} is {row[4]}"
            elif row[8] is not None:
                yield f"task {row[0]} is {row[4]} and still sealed"
            if row[4] == "cancelled" and row[1] not in cancelled:
                yield f"task {row[0]} is cancelled and its batch is not"

    def _attempts(self):
        by_password = defaultdict(list)
        for (task, n), row in sorted(self.attempts.items()):
            if row[5] is None or row[3] is None:
                yield f"attempt {task}-{n} is open"
            by_password[task, row[2]].append(row)
        for task, row in self.tasks.items():
            for password_no in range(1, row[7]):
                # What made a new password due: the one before was refused. A release after it changes nothing.
                ends = [each[3] for each in by_password[task, password_no]]
                if not REFUSED & set(ends):
                    yield f"task {task} got password {password_no + 1} after {ends}"

    def _calls(self, name, tenant):
        seen = Counter()
        for _, task, n, call in writes_of(tenant):
            seen[task, n] += 1
            if (task, n) not in self.attempts:
                yield f"call {call.request_id} has no attempt"
            elif self.tasks[task][2] != name:
                yield f"call {call.request_id} went to another account"
            elif self.attempts[task, n][3] in ("released", "unreachable"):
                yield f"call {call.request_id} arrived, and is booked as {self.attempts[task, n][3]}"
        yield from (f"attempt {task}-{n} was sent {count} times" for (task, n), count in seen.items() if count > 1)
        refused = [call.request_id for call in tenant.log.calls if call.status == 429 and call.fault != "429"]
        if refused:
            yield f"{len(refused)} calls were refused by the limit itself: {refused[:5]}"

    def _limit(self, tenant):
        window = fullest_window(tenant)
        if window.most > window.limit:
            begin = window.calls[0].t
            lines = [f"{window.most} calls in a window of {window.limit}, from {begin:.6f}"]
            for call in window.calls:
                key = tuple(map(int, call.request_id.split("-")))[1:] if call.request_id else None
                row = self.attempts.get(key) if key else None
                told = (row[4], str(row[7]), str(row[8]), row[3]) if row else call.path
                lines.append(f"  {call.t - begin:.6f} {call.request_id} {told}")
            yield "\n".join(lines)

    def _passwords(self, name, tenant):
        user_of, sent = {}, defaultdict(set)
        for _, task, n, call in writes_of(tenant):
            user_of[task] = call.user
            if call.password_sha256 and (task, n) in self.attempts:
                sent[task, self.attempts[task, n][2]].add(call.password_sha256)
        for (task, password_no), digests in sent.items():
            if len(digests) > 1:
                yield f"task {task} sent {len(digests)} passwords as its number {password_no}"
            if not digests <= self.made[task, password_no]:
                yield f"task {task} sent a password that was never made for its number {password_no}"
        users = {user.id: user for user in tenant.users}
        for task, row in self.tasks.items():
            if row[2] == name and task in user_of:
                yield from self._ending(row, users.get(user_of[task]), sent[task, row[7]])

    def _ending(self, row, user, sent):
        """Hold a task's end against its user; None is one that the provider does not know."""
        task, state, outcome, password_no = row[0], row[4], row[5], row[7]
        kind = "missing" if user is None else user.kind
        if kind in SPECIAL:
            if state not in (SPECIAL[kind], "cancelled") and outcome not in SPENT:
                yield f"task {task} of a user that is {kind} ended {state} ({outcome})"
        elif state == "succeeded":
            if {user.password_sha256} != sent:
                yield f"task {task} succeeded, and password {password_no} is not the one in force"
        elif state == "skipped" or (state == "failed" and outcome not in SPENT):
            yield f"task {task} of a user without fault ended {state}: {outcome}"
