"""How often a page refreshes itself: the reader's choice, kept in the address by all of the page's links."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask, has_request_context, request
from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid

USUAL = "live"
# In words, and in htmx's: `refresh` comes from static/live.js when something changed.
REFRESHES = {
    "off": ("off", "never"),
    "30": ("every 30 s", "every 30s"),
    "60": ("every minute", "every 60s"),
    "300": ("every 5 min", "every 300s"),
    "live": ("live", "every 30s, refresh"),
}
# The pages that offer the choice (templates/_refresh.html).
ENDPOINTS = frozenset(
    {
        "home.index",
        "timeline.index",
        "jobs.index",
        "history.index",
        "queue.index",
        "failures.index",
        "schedules_pages.index",
        "events_pages.index",
        "stats_pages.index",
        "platform_jobs.index",
        "platform_jobs.list_jobs",
        "platform_jobs.stats",
        "alerts_page.index",
        "webhooks.index",
        "webhooks.show",
        "dead_letters_page.index",
        "audit_page.index",
        "storage.index",
        "workers.show",
    }
)


@dataclass(frozen=True)
class Refresh:
    """The choice of the page that is asked for."""

    key: str = USUAL

    choices = tuple((key, words[0]) for key, words in REFRESHES.items())

    @property
    def at(self) -> datetime:
        """When the page was made."""
        return datetime.now(UTC)

    @property
    def trigger(self) -> str:
        """When a part of the page fetches itself anew, in htmx's words."""
        return REFRESHES[self.key][1]


def register(app: Flask) -> None:
    """Make the choice known to the templates, and have links of the same pages keep it."""
    app.before_request(_refuse)
    app.add_template_global(_of_the_page, "refresh")
    app.url_defaults(_keep)


def chosen_refresh(args: MultiDict[str, str]) -> str:
    """The key of the choice, as the address has it. Raises Invalid."""
    chosen = args.get("refresh") or USUAL
    if chosen not in REFRESHES:
        raise Invalid(f"refresh must be one of {', '.join(REFRESHES)}.", param="refresh")
    return chosen


def _refuse() -> None:
    """What can't be read, before anything is looked up."""
    if request.endpoint in ENDPOINTS:
        chosen_refresh(request.args)


def _of_the_page() -> Refresh:
    """Of the page that is asked for; those that don't offer the choice have the usual one."""
    return Refresh(chosen_refresh(request.args) if request.endpoint in ENDPOINTS else USUAL)


def _keep(endpoint: str, values: dict[str, Any]) -> None:
    """A link that filters, sorts or pages goes on as the reader has chosen; `refresh=None` does not."""
    if endpoint not in ENDPOINTS or "refresh" in values or not has_request_context():
        return
    if request.endpoint in ENDPOINTS and endpoint.split(".")[0] == request.blueprint:
        chosen = request.args.get("refresh")
        if chosen in REFRESHES and chosen != USUAL:
            values["refresh"] = chosen
