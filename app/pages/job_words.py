"""The words of what may be done to a job: its button, and what a dialog says will happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Action:
    """`key` is its name in app.core.status.ACTIONS; `tone` colours its button.

    `by_status` says what will happen to a job of that status, `otherwise` to any other.
    """

    name: str
    key: str
    button: str
    icon: str
    tone: str
    otherwise: str
    by_status: Mapping[str, str] = field(default_factory=dict)
    warning: str | None = None
    fields: tuple[str, ...] = ()
    is_asked: bool = True  # whether its button asks before it acts

    def words(self, status: str) -> str:
        return self.by_status.get(status, self.otherwise)


@dataclass(frozen=True)
class BulkWords:
    """The words of what may be done to many: the button, what will happen, its tone, what it came to."""

    verb: str
    words: str
    tone: str
    participle: str


BULK = {
    "retry": BulkWords(
        "Retry",
        "Each is made again as a new job. The old ones stay as they are.",
        "blue",
        "retried",
    ),
    "cancel": BulkWords(
        "Cancel",
        "Those that wait are cancelled at once; those that run stop after their current operation.",
        "amber",
        "cancelled",
    ),
    "abort": BulkWords(
        "Abort",
        "Those that run are stopped at once, by force if it must be. What they have half done stays"
        " half done: data may be inconsistent.",
        "red",
        "aborted",
    ),
    "delete": BulkWords(
        "Delete",
        "Their records are removed for good: attempts, history, log and result. This can't be undone.",
        "gray",
        "deleted",
    ),
}

_AGAIN = (
    "A new job with the same task, queue, priority and lock starts. This one stays as it is, and the "
    "new one names it."
)
_WAITS = (
    "It has not begun, so it is cancelled at once. Jobs that depend on it are cancelled with it."
)

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "put-back",
            "put back",
            "Put back",
            "rotate-ccw",
            "blue",
            "It waits in its queue again, and the next worker that is free begins it anew. This is safe"
            " when the task may run twice: what its dead worker had done by then is done once more.",
            warning="If its worker only lost the database and still runs, the job runs twice at a time.",
        ),
        Action(
            "fail",
            "fail",
            "Fail",
            "x",
            "red",
            "It ends as failed, and nothing runs again. This is the safe one when you don't know how far"
            " its worker came: look at its log first, and retry it when it may be done again.",
            warning="Jobs that depend on it do not run.",
        ),
        Action(
            "cancel",
            "cancel",
            "Cancel",
            "ban",
            "amber",
            _WAITS,
            {
                "running": "The job completes its current operation before it stops. What it has done"
                " until then stays done."
            },
        ),
        Action(
            "abort",
            "abort",
            "Abort",
            "octagon",
            "red",
            "The job is stopped at once, in the middle of what it does, by force if it must be.",
            warning="What it has half done stays half done: data may be inconsistent. Cancel lets it"
            " finish its current operation first.",
        ),
        Action(
            "retry",
            "retry",
            "Retry",
            "rotate",
            "blue",
            _AGAIN,
            fields=("schedule_at", "args"),
            is_asked=False,
        ),
        Action(
            "run-again",
            "run again",
            "Run again",
            "rotate",
            "blue",
            _AGAIN,
            fields=("schedule_at", "args"),
        ),
        Action(
            "expedite",
            "expedite",
            "Run next",
            "zap",
            "",
            "It is due at once, and goes first in its queue.",
        ),
        Action(
            "reschedule",
            "reschedule",
            "Reschedule",
            "clock-3",
            "",
            "It runs no earlier than at this time. A time in the past means now.",
            fields=("schedule_at",),
        ),
        Action(
            "priority",
            "change priority",
            "Priority",
            "list-checks",
            "",
            "Of the jobs that wait in a queue, those with the higher priority go first.",
            fields=("priority",),
        ),
        Action(
            "delete",
            "delete",
            "Delete",
            "trash",
            "gray",
            "Its record is removed for good: attempts, history, log and result. This can't be undone.",
            dict.fromkeys(
                ("scheduled", "pending", "retrying"),
                f"{_WAITS} Its record stays; deleting it once more removes that, too.",
            ),
        ),
    )
}
