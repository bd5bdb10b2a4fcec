"""The `flask` commands: everything an operator can do from a shell."""

from __future__ import annotations

import importlib

from flask import Flask

from app.cli.keys import keys_group
from app.cli.users import users_group


def register(app: Flask) -> None:
    """Attach the commands. `flask up` needs no database of its own to load, so it comes lazily."""
    app.cli.add_command(users_group)
    app.cli.add_command(keys_group)
    try:
        app.cli.add_command(importlib.import_module("app.cli.up").up_command)
    except (ImportError, AttributeError):
        pass
