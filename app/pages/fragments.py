"""Pages and their parts: one handler gives either, and a refused part is told in the banner."""

from __future__ import annotations

from flask import Flask, Response, request


def register(app: Flask) -> None:
    """Attach the banner's hook, and make the page's own address known to the templates."""
    app.after_request(_point_refusals_at_the_banner)
    app.add_template_global(here, "own_address")


def wants_fragment() -> bool:
    """Whether htmx asked for a part of the page that the reader already has."""
    return request.headers.get("HX-Request-Type") == "partial"


def here() -> str:
    """The address as the browser wrote it, so that it can be compared with the browser's own."""
    query = request.query_string.decode("ascii", "replace")
    path = f"{request.script_root}/{request.path.lstrip('/')}"  # two slashes would begin a host
    return f"{path}?{query}" if query else path


def _point_refusals_at_the_banner(response: Response) -> Response:
    """The rest of the page and its address stay as they are."""
    if "HX-Retarget" in response.headers:
        return response  # it knows a nearer place
    if response.status_code >= 400 and wants_fragment():
        response.headers["HX-Retarget"] = "#banner"
        response.headers["HX-Reswap"] = "innerHTML"
        response.headers["HX-Push-Url"] = "false"
    return response
