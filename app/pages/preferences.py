"""How this browser's reader wants pages: theme, clock, density, keys. A cookie, so that the server
writes the page as it will stay: nothing changes its looks after it came."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, tzinfo
from urllib.parse import parse_qsl, urlencode, urlsplit
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, g, has_request_context, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.auth import public
from app.extensions import current_settings

blueprint = Blueprint("preferences", __name__)

CHOICES = {
    "theme": ("system", "light", "dark"),
    "time": ("utc", "local"),
    "density": ("comfortable", "compact"),
    "keys": ("on", "off"),
}

_LONGEST = 400
_KEPT_SECONDS = 400 * 86_400  # browsers keep none longer


@dataclass(frozen=True)
class Preferences:
    """One of CHOICES each, the first by default; `zone` is the browser's own, such as Europe/Berlin."""

    theme: str = "system"
    time: str = "utc"
    density: str = "comfortable"
    keys: str = "on"
    zone: str = ""

    @property
    def timezone(self) -> tzinfo:
        """What times on the page are in."""
        return (known_zone(self.zone) if self.time == "local" else None) or UTC

    def changed(self, given: dict[str, str]) -> Preferences:
        """With what is given, as far as it is a choice."""
        taken = {name: given[name] for name, all_ in CHOICES.items() if given.get(name) in all_}
        if known_zone(given.get("zone", "")):
            taken["zone"] = given["zone"]
        return replace(self, **taken)


def register(app: Flask) -> None:
    """Make the reader's choices known to the templates."""
    app.add_template_global(preferences)
    app.add_template_global(cookie_name, "look_cookie")


def preferences() -> Preferences:
    """What the browser that asks has chosen; the defaults where nobody asks."""
    if not has_request_context():
        return Preferences()
    if "preferences" not in g:
        kept = request.cookies.get(cookie_name(), "")[:_LONGEST]
        g.preferences = Preferences().changed(dict(parse_qsl(kept)))
    chosen = g.preferences
    assert isinstance(chosen, Preferences)
    return chosen


@blueprint.post("/preferences")
@public
def change() -> ResponseReturnValue:
    """Keep what the form chose; what it leaves out stays. Scripts write the cookie themselves."""
    after = preferences().changed(request.form.to_dict())
    response = redirect(_page_before(), 303)
    settings = current_settings()
    response.set_cookie(
        cookie_name(),
        urlencode(asdict(after)),
        max_age=_KEPT_SECONDS,
        path=settings.url_prefix or "/",
        samesite="Lax",
        secure=settings.secure_cookies,
    )
    return response


def cookie_name() -> str:
    """The cookie's name; browsers share cookies between the ports of one host."""
    return f"stoker_look_{current_settings().port}"


def _page_before() -> str:
    """The page that the form stood on; no other site's."""
    came_from = urlsplit(request.headers.get("Referer", ""))
    if came_from.netloc != request.host:
        return url_for("home.index")
    path = "/" + came_from.path.lstrip("/\\")
    return f"{path}?{came_from.query}" if came_from.query else path


def known_zone(name: str) -> ZoneInfo | None:
    """A time zone, if there is one of that name: it came from a client."""
    try:
        return ZoneInfo(name) if 0 < len(name) <= 64 else None
    except (KeyError, ValueError, OSError):
        return None
