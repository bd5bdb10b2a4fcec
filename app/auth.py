"""Who asks, and may they: a key or a signed-in browser becomes `g.actor` before any handler runs.

Everything is closed unless its view says `@public`. A request with an Authorization header is
judged by that header alone; its cookies are not looked at, so no other site can borrow them.
A request by cookie that changes something must come from our own pages: the browser says so
(Sec-Fetch-Site, or Origin), and the form's token proves it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, urlsplit

from flask import Blueprint, Flask, current_app, g, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError

from app.api.errors import is_api_request
from app.core import audit, keys, sessions
from app.core.errors import Forbidden, Unauthenticated
from app.core.users import Actor, actor_of, authorize, authorize_look, read_only
from app.extensions import csrf, current_settings, db

__all__ = ["authorize", "needs", "public", "register", "session_cookie"]

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

# Where those may write who only look: their sign-out, look and saved views.
_PERSONAL = ("sign_in.", "preferences.", "views.")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def register(app: Flask) -> None:
    """Attach the check to every request."""
    app.before_request(_identify)


def public(view: View) -> View:
    """Mark a view that needs no credentials."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def needs(scope: str) -> Callable[[View], View]:
    """What a view's callers must be allowed to do; an API view without it is open to nobody."""

    def mark(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark


def only_for(blueprint: Blueprint, scope: str) -> None:
    """A blueprint of pages that nobody else is shown: the same as the API asks for."""

    def guard() -> None:
        if g.actor is not None:
            _require(g.actor, scope)

    blueprint.before_request(guard)


def session_cookie() -> str:
    """The session token that the browser sent, or an empty string."""
    return request.cookies.get(current_app.config["STOKER_COOKIE_NAME"], "")


def _identify() -> ResponseReturnValue | None:
    g.actor = None
    audit.came_from(request.remote_addr)
    if _is_public():
        pass
    elif "Authorization" in request.headers and is_api_request():
        g.actor = _actor_by_key()
        _require_scope(g.actor)
        _let_lookers_look(g.actor)
        return None
    else:
        g.actor = _actor_by_cookie()
        if g.actor is None:
            return _ask_for_credentials()
        if is_api_request():
            _require_scope(g.actor)
    if request.method not in _SAFE_METHODS:
        _refuse_other_sites()
        _let_lookers_look(g.actor)
    return None


def _let_lookers_look(actor: Actor | None) -> None:
    """Who may change nothing gets no further, whatever the view itself would ask."""
    if request.method in _SAFE_METHODS or actor is None or not actor.only_looks:
        return
    if not _is_personal():
        raise Forbidden(actor.only_looks)


def _is_personal() -> bool:
    """Whether a view only reads, for all its method, or changes no more than how its reader sees things."""
    endpoint = request.endpoint or ""
    return getattr(_view(), "scope", None) == "read" or endpoint.startswith(_PERSONAL)


def _is_public() -> bool:
    return request.endpoint == "static" or getattr(_view(), "is_public", False)


def _view() -> object:
    return current_app.view_functions.get(request.endpoint or "")


def _require_scope(actor: Actor) -> None:
    view = _view()
    if view is not None:  # else there is nothing to guard: the answer is 404 or 405
        _require(actor, getattr(view, "scope", "nothing"))


def _require(actor: Actor, scope: str) -> None:
    if request.method in _SAFE_METHODS:
        authorize_look(actor, scope)
    else:
        authorize(actor, scope)


def _actor_by_key() -> Actor:
    scheme, _, plain = request.headers["Authorization"].partition(" ")
    key = keys.verify(db.session(), plain.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Unauthenticated(
            "This API key is unknown, revoked or expired.", code="invalid_api_key"
        )
    actor = actor_of(key.user, key)
    db.session.commit()
    return actor


def _actor_by_cookie() -> Actor | None:
    cookie = session_cookie()
    if not cookie:
        return None
    browser = sessions.get(db.session(), cookie, idle_hours=current_settings().session_idle_hours)
    actor = actor_of(browser.user) if browser is not None else None
    db.session.commit()
    if actor is not None and current_settings().read_only_pages:
        return read_only(actor)
    return actor


def _ask_for_credentials() -> ResponseReturnValue:
    if is_api_request():
        raise Unauthenticated(
            "Send your API key: `Authorization: Bearer sk-stoker-…`.",
            code="missing_api_key",
        )
    sign_in = url_for("sign_in.index")
    if "HX-Request" in request.headers:
        return make_response("", 401, {"HX-Redirect": sign_in})
    if request.method in _SAFE_METHODS and request.path != "/":
        sign_in += "?next=" + quote(request.script_root + request.full_path.rstrip("?"), safe="/")
    return redirect(sign_in, 303)


def _refuse_other_sites() -> None:
    fetch_site = request.headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        is_ours = fetch_site == "same-origin"
    else:  # plain http away from localhost: browsers leave Sec-Fetch-Site out, never Origin
        is_ours = urlsplit(request.headers.get("Origin", "")).netloc == request.host
    if not is_ours:
        raise Forbidden("This request came from another site.")
    try:
        csrf.protect()
    except CSRFError as fault:
        raise Forbidden("The form is too old; load the page again.") from fault
