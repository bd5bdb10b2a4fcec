"""Writes the table in docs/reference/settings.md from the settings themselves: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.core.settings import Settings  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "settings.md"
BEGIN = "<!-- The table is made from app/core/settings.py by `make docs`. -->\n"
END = "<!-- End of the table. -->\n"

_WORDS = {"ge": "at least", "gt": "more than", "le": "at most"}


def rows() -> dict[str, str]:
    """The table's row of each setting, by its name in the environment."""
    found = {}
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"STOKER_{name.upper()}")
        found[variable] = f"| `{variable}` | {_default(field)} | {_text(field)} |\n"
    return found


def table() -> str:
    """All rows under their heading."""
    head = "| Environment variable | Default | What it is |\n|---|---|---|\n"
    return BEGIN + "\n" + head + "".join(rows().values()) + "\n" + END


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


def _text(field: FieldInfo) -> str:
    limits = []
    for constraint in field.metadata:
        for sign, word in _WORDS.items():
            limit = getattr(constraint, sign, None)
            if limit is not None:
                limits.append(f"{word} {limit}")
        pattern = getattr(constraint, "pattern", None)
        if pattern:
            choices = pattern.strip("^()$").split("|")
            limits.append("one of " + ", ".join(f"`{choice}`" for choice in choices))
    said = field.description or ""
    return f"{said} ({', '.join(limits)})" if limits else said


def main() -> None:
    """Replace the page's table."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + table() + after)


if __name__ == "__main__":
    main()
