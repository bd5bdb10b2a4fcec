"""The pages that every page leads to, in their order: one line here puts a page into the navigation."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, request

# So many stand in the bar at the bottom of a narrow screen; the others are under "More".
IN_BAR = 5


@dataclass(frozen=True)
class Entry:
    """Where it leads, its word and its icon; `also` names other blueprints that belong to it."""

    endpoint: str
    word: str
    icon: str
    also: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether the page that is asked for is this one, or below it."""
        return request.blueprint in (self.endpoint.partition(".")[0], *self.also)


ENTRIES = (
    Entry("home.index", "Overview", "layout-dashboard"),
    Entry("timeline.index", "Timeline", "chart-gantt"),
    Entry(
        "jobs.index",
        "Jobs",
        "briefcase",
        also=("job_actions", "job_bulk", "job_export", "job_log", "job_stats", "job_values"),
    ),
    Entry("history.index", "History", "history"),
    Entry("queue.index", "Queue", "server"),
    Entry("failures.index", "Failures", "triangle-alert"),
    Entry("tasks.index", "Tasks", "list-checks"),
    Entry("description.index", "API", "braces"),
)


def register(app: Flask) -> None:
    """Make the list known to the templates."""
    app.add_template_global(ENTRIES, "navigation")  # type: ignore[arg-type]
    app.add_template_global(IN_BAR, "most_in_bar")  # type: ignore[arg-type]
