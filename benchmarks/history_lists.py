"""The lists and searches that benchmarks.history_scale times."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from benchmarks.house import House

_SORTS = ("created_at", "started_at", "completed_at", "progress", "job_type", "status")


@dataclass(frozen=True)
class Asked:
    """What is measured, and its query."""

    what: str
    query: dict[str, Any]

    @property
    def path(self) -> str:
        """Of GET /api/jobs or its search."""
        route = "/api/jobs/search" if self.what.startswith("search") else "/api/jobs"
        return f"{route}?{urlencode(self.query)}"


def lists(house: House) -> list[Asked]:
    """Every sort, the filters that the page has, and pages far behind the first."""
    asked = [Asked("list", {})]
    asked += [Asked(f"list by {sort}", {"sort": sort}) for sort in _SORTS[1:]]
    asked += [
        Asked("list ascending", {"order": "asc"}),
        Asked("list of 1000", {"limit": 1000}),
        Asked("list pending", {"status": "pending"}),
        Asked("list failed", {"status": "failed"}),
        Asked("list completed", {"status": "completed"}),
        Asked("list failed or cancelled", {"status": "failed,cancelled"}),
        Asked("list type", {"job_type": "export"}),
        Asked("list type and failed", {"job_type": "export", "status": "failed"}),
        Asked("list queue and failed", {"queue": "gpu", "status": "failed"}),
        Asked("list failed by progress", {"status": "failed", "sort": "progress"}),
    ]
    for what, query in (
        ("list from the middle", {"limit": 50}),
        ("list failed from the middle", {"status": "failed", "limit": 50}),
    ):
        asked.append(Asked(what, {**query, "cursor": _cursor_of_the_middle(house, query)}))
    return asked


def searches(_: House) -> list[Asked]:
    """Words that are common, rare and absent, short ones, and fields."""
    texts = {
        "search": "",
        "search absent word": "zzqqzzqq",
        "search rare words": '"did not answer" user07',
        "search common word": "export",
        "search short word": "07",
        "search field": "type:export status:failed",
        "search error": 'error:"out of memory"',
        "search duration": "duration:>300",
        "search day": "created:>24h status:failed",
        "search user": "user:user07",
        "search word and fields": "memory type:extract_fields",
    }
    return [Asked(what, {"q": q}) for what, q in texts.items()]


def _cursor_of_the_middle(house: House, query: dict[str, Any]) -> str:
    """Of a page that begins behind a few thousand jobs, by their offset."""
    answer: dict[str, Any] = {}
    for offset in (100_000, 4_000, 100, 0):
        connection = http.client.HTTPConnection("127.0.0.1", house.settings.port, timeout=600)
        path = "/api/jobs?" + urlencode({**query, "offset": offset})
        connection.request("GET", path, headers={"Authorization": f"Bearer {house.key}"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if answer.get("pagination", {}).get("next_cursor"):
            break
    return str(answer["pagination"]["next_cursor"])
