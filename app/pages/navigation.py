"""The pages that every page leads to, in their order: one line here puts a page into the navigation."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, g, request

# So many stand in the bar at the bottom of a narrow screen, or in that of a wide one; the others are under
# "More".
IN_BAR = 5
IN_WIDE_BAR = 8


@dataclass(frozen=True)
class Entry:
    """Where it leads, its word and its icon; `g` and then `key` goes there, and `also` names other
    blueprints that belong to it.

    Who has not the scope that it needs is not led there.
    """

    endpoint: str
    word: str
    icon: str
    key: str = ""
    also: tuple[str, ...] = ()
    needs: str = "read"

    @property
    def is_current(self) -> bool:
        """Whether the page that is asked for is this one, or below it."""
        return request.blueprint in (self.endpoint.partition(".")[0], *self.also)


ENTRIES = (
    Entry("home.index", "Overview", "layout-dashboard", "o"),
    Entry("timeline.index", "Timeline", "chart-gantt", "t"),
    Entry(
        "jobs.index",
        "Jobs",
        "briefcase",
        "j",
        also=(
            "bulk_actions",
            "job_actions",
            "job_bulk",
            "job_export",
            "job_log",
            "job_stats",
            "job_values",
        ),
    ),
    Entry(
        "history.index",
        "History",
        "history",
        "h",
        also=("history_compare", "history_exports", "batch_requests"),
    ),
    Entry("queue.index", "Queue", "server", "q", also=("workers",)),
    Entry("failures.index", "Failures", "triangle-alert", "f"),
    Entry("schedules_pages.index", "Schedules", "calendar-clock", "s"),
    Entry("events_pages.index", "Events", "flag", "e"),
    Entry("stats_pages.index", "Stats", "chart-column", "c"),
    Entry("platform_jobs.index", "Platform", "gauge", "p"),
    Entry("tasks.index", "Tasks", "list-checks", "a"),
    Entry("alerts_page.index", "Alerts", "bell", "l", needs="operate"),
    Entry("webhooks.index", "Webhooks", "webhook", "w", also=("dead_letters_page",)),
    Entry("storage.index", "Storage", "database", "d", needs="operate"),
    Entry("audit_page.index", "Audit", "scroll-text", "u", needs="admin"),
    Entry("description.index", "API", "braces", "i"),
)


def register(app: Flask) -> None:
    """Make the list known to the templates."""
    app.context_processor(lambda: {"navigation": _open_to_the_reader()})
    app.add_template_global(IN_BAR, "most_in_bar")  # type: ignore[arg-type]
    app.add_template_global(IN_WIDE_BAR, "most_in_wide_bar")  # type: ignore[arg-type]


def _open_to_the_reader() -> tuple[Entry, ...]:
    scopes = g.actor.scopes | g.actor.seen if g.get("actor") else frozenset()
    return tuple(entry for entry in ENTRIES if entry.needs in scopes)
