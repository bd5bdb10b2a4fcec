"""What `flask up` leaves in the data folder's `env` file for shells, programs and commands."""

from __future__ import annotations

import shlex
from pathlib import Path


def kept_variables(var: Path) -> dict[str, str]:
    """The file's variables; none when there is no such file, or it can't be read."""
    try:
        lines = (var / "env").read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals:
            continue
        try:
            found[name.strip()] = "".join(shlex.split(value))
        except ValueError:  # a quotation mark without its end, by somebody's hand
            found[name.strip()] = value.strip()
    return found
