"""The form of a webhook endpoint: what is read from it, and what is wrong at which field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import MultiDict

from app.core.addresses import is_web_address
from app.core.errors import StokerError
from app.core.models import WebhookEndpoint
from app.core.webhooks import EVENT_TYPES

LONGEST_NAME = 200
_LONGEST_URL = 2048


@dataclass
class WebhookForm:
    """Every field as the browser sends it; `faults` has a sentence for each unfit one."""

    name: str = ""
    url: str = ""
    event_types: list[str] = field(default_factory=list)
    hears_all: bool = False
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> WebhookForm:
        """An endpoint as it is."""
        return cls(endpoint.name, endpoint.url, list(endpoint.event_types), endpoint.hears_all)

    @classmethod
    def sent(cls, form: MultiDict[str, str]) -> WebhookForm:
        """What the browser sent, judged."""
        found = cls(
            form.get("name", "").strip(),
            form.get("url", "").strip(),
            form.getlist("event_types"),
            "hears_all" in form,
        )
        if not 0 < len(found.name) <= LONGEST_NAME or not found.name.isprintable():
            found.faults["name"] = f"An endpoint has a name of one line, {LONGEST_NAME} at most."
        if len(found.url) > _LONGEST_URL or not is_web_address(found.url):
            found.faults["url"] = "The address must be an http or https one, without a user name."
        if not found.event_types:
            found.faults["event_types"] = "Choose one event at least."
        elif not set(found.event_types) <= set(EVENT_TYPES):
            found.faults["event_types"] = "There is no such event."
        return found

    @property
    def wanted(self) -> dict[str, Any]:
        """In the domain's words."""
        return {
            "name": self.name,
            "url": self.url,
            "event_types": self.event_types,
            "hears_all": self.hears_all,
        }

    def refused(self, refusal: StokerError) -> None:
        """Note what the domain found, at its field."""
        param = refusal.param or ""
        self.faults[param if param in ("name", "url", "event_types") else "form"] = refusal.message
