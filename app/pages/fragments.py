"""Pages and their parts: one handler gives either, and a refused part is told in the banner."""

from __future__ import annotations

import hashlib
import re

from flask import Flask, Response, request


def register(app: Flask) -> None:
    """Attach the banner's hook, and make the page's own address known to the templates."""
    app.after_request(_say_nothing_twice)
    app.after_request(_point_refusals_at_the_banner)
    app.add_template_global(here, "own_address")


def wants_fragment() -> bool:
    """Whether htmx asked for a part of the page that the reader already has."""
    return request.headers.get("HX-Request-Type") == "partial"


def told_at() -> float | None:
    """When the page was told what it asks for: what was begun since has it (app.core.shared_answers)."""
    try:
        return float(request.headers["Stoker-Told-At"])
    except (KeyError, ValueError):
        return None


def here() -> str:
    """The address as the browser wrote it, so that it can be compared with the browser's own."""
    query = request.query_string.decode("ascii", "replace")
    path = f"{request.script_root}/{request.path.lstrip('/')}"  # two slashes would begin a host
    return f"{path}?{query}" if query else path


# What differs though nothing is new: the words of times that pages count on by themselves, form tokens.
# Two, as each is looked for by how it begins: ten times as fast.
_AGES = re.compile(rb"(<time[^>]* data-ago[^>]*>)[^<]*")
_TOKENS = re.compile(rb'(name="csrf_token" value=)"[^"]*"')


def _say_nothing_twice(response: Response) -> Response:
    """A part that the page has already, by what it says it has, is not sent again: 304."""
    if (
        request.method == "GET"
        and response.status_code == 200
        and response.mimetype == "text/html"
        and not response.is_streamed
        and wants_fragment()
    ):
        said = _TOKENS.sub(rb"\1", _AGES.sub(rb"\1", response.get_data()))
        # What headers tell the page to do besides counts too.
        told = [f"{name}:{value}" for name, value in response.headers if name.startswith("HX-")]
        digest = hashlib.blake2b(said + "".join(sorted(told)).encode(), digest_size=12)
        response.set_etag(digest.hexdigest(), weak=True)
        response.make_conditional(request)
    return response


def _point_refusals_at_the_banner(response: Response) -> Response:
    """The rest of the page and its address stay as they are."""
    if "HX-Retarget" in response.headers:
        return response  # it knows a nearer place
    if response.status_code >= 400 and wants_fragment():
        response.headers["HX-Retarget"] = "#banner"
        response.headers["HX-Reswap"] = "innerHTML"
        response.headers["HX-Push-Url"] = "false"
    return response
