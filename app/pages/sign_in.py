"""Signing in by a one-time link, and out."""

from __future__ import annotations

from flask import Blueprint, current_app, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.auth import public, session_cookie
from app.core import sessions
from app.extensions import current_settings, db

blueprint = Blueprint("sign_in", __name__)


@blueprint.get("/sign-in")
@public
def index() -> ResponseReturnValue:
    """How to get a link."""
    return render_template("sign_in/index.html")


@blueprint.get("/sign-in/<token>")
@public
def show(token: str) -> ResponseReturnValue:
    """A button: what merely looks at links (a chat's preview, a scanner) must not use them up."""
    name = sessions.linked_name(db.session(), token)
    return render_template("sign_in/show.html", name=name)


@blueprint.post("/sign-in/<token>")
@public
def sign_in(token: str) -> ResponseReturnValue:
    """Use the link up and keep the browser signed in."""
    settings = current_settings()
    cookie = sessions.consume_sign_in_link(db.session(), token, session_days=settings.session_days)
    db.session.commit()
    response = redirect(url_for("history.index"), 303)
    response.set_cookie(
        current_app.config["STOKER_COOKIE_NAME"],
        cookie,
        max_age=int(settings.session_days * 86400),
        httponly=True,
        samesite="Lax",
        secure=settings.secure_cookies,
        path=settings.url_prefix or "/",
    )
    return response


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the browser's session on the server too."""
    sessions.end(db.session(), session_cookie())
    db.session.commit()
    response = redirect(url_for("sign_in.index"), 303)
    response.delete_cookie(
        current_app.config["STOKER_COOKIE_NAME"],
        secure=current_settings().secure_cookies,
        httponly=True,
        samesite="Lax",
        path=current_settings().url_prefix or "/",
    )
    return response
