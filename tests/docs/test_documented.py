"""What an operator or a client can meet is documented, and nothing that is not there any more."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
from flask import Flask

from app.core.alert_figures import KINDS
from app.core.checkup import CHECKS
from app.core.engines import ModelSpec
from app.core.models.batches import STATUSES
from app.core.settings import Settings
from app.core.webhooks import EVENT_TYPES
from tests.conftest import ROOT
from tests.docs.pages import PAGES, REFERENCE, first_words, rows, section


def compare(what: str, page: Path, real: set[str], documented: set[str]) -> None:
    """Fail with the names that are missing or stale."""
    name = page.relative_to(ROOT)
    missing, stale = sorted(real - documented), sorted(documented - real)
    assert not missing, f"{name} lacks the {what} {', '.join(missing)}"
    assert not stale, f"{name} has the {what} {', '.join(stale)}, which is not there any more"


def test_every_setting_is_in_its_table_as_the_code_has_it() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import settings_table
    finally:
        sys.path.pop(0)
    page = REFERENCE / "settings.md"
    compare("setting", page, set(settings_table.rows()), set(first_words(page.read_text())))
    text = page.read_text()
    changed = [name for name, row in settings_table.rows().items() if row not in text]
    assert not changed, f"{page.name} is older than {', '.join(changed)}: run `make docs`"
    assert settings_table.table() in text, f"{page.name} is out of order: run `make docs`"


def test_every_route_is_documented_with_its_scope(app: Flask) -> None:
    real: dict[str, str | None] = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            real[f"{method} {path}"] = getattr(app.view_functions[rule.endpoint], "scope", None)
    page = REFERENCE / "http.md"
    described = {
        row[0].strip("`"): row[1]
        for row in rows(page.read_text())
        if re.match(r"`(GET|POST|PUT|PATCH|DELETE) /", row[0])
    }
    compare("route", page, set(real), set(described))
    for route, scope in real.items():
        if scope is not None:
            assert described[route] == scope, f"{page.name}: {route} needs the scope {scope}"


def commands(app: Flask) -> Iterator[tuple[str, click.Command]]:
    """Our commands by their names; Flask-Migrate's stand for themselves."""
    for name, command in app.cli.commands.items():
        if isinstance(command, click.Group) and name != "db":
            for below, leaf in command.commands.items():
                yield f"flask {name} {below}", leaf
        elif not isinstance(command, click.Group):
            yield f"flask {name}", command


def test_every_command_is_documented_with_its_options(app: Flask) -> None:
    page = REFERENCE / "commands.md"
    text = page.read_text()
    real = dict(commands(app))
    described = {match[1] for match in re.finditer(r"^\| `(flask (?!db)\w+ [\w-]+)", text, re.M)}
    described |= {
        match[1] for match in re.finditer(r"^## (flask (?:up|adopt|doctor))$", text, re.M)
    }
    compare("command", page, set(real), described)
    for name, command in real.items():
        if name in ("flask up", "flask adopt", "flask doctor"):
            said = section(page, f"## {name}")
        else:
            said = next(line for line in text.splitlines() if re.match(rf"\| `{name}[ `]", line))
        options = {
            option
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        }
        said_options = set(re.findall(r"`(--[\w-]+)`", said))
        compare(f"option of `{name}`", page, options, said_options)


def test_every_command_that_a_page_tells_to_run_exists(app: Flask) -> None:
    known = {name for name, _ in commands(app)}
    known |= {f"flask db {name}" for name in app.cli.commands["db"].commands}  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        text = page.read_text()
        for code in re.findall(r"`[^`\n]+`", text) + re.findall(
            r"^```sh\n(.*?)^```", text, re.M | re.S
        ):
            for name in re.findall(r"\bflask ((?:users|keys|db) \w+|(?:up|adopt|doctor)\b)", code):
                assert f"flask {name}" in known, f"{page.name} tells to run `flask {name}`"
            for target in re.findall(r"\bmake ([a-z][a-z-]*)\b", code):
                assert target in targets, f"{page.name} tells to run `make {target}`"


def test_every_setting_that_a_page_names_exists() -> None:
    known = {f"STOKER_{name.upper()}" for name in Settings.model_fields} | {"STOKER_CONFIG"}
    shipped = [path for path in (ROOT / "deploy").rglob("*") if path.suffix != ".pyc"]
    for page in [*PAGES, *filter(Path.is_file, shipped), ROOT / "Makefile"]:
        for name in re.findall(r"\bSTOKER_[A-Z_]+[A-Z]\b", page.read_text()):
            assert name in known, f"{page.relative_to(ROOT)} names {name}, which is no setting"


def test_every_field_of_the_models_file_is_documented() -> None:
    page = REFERENCE / "models.md"
    real = set(ModelSpec.model_fields) - {"name", "registry_folder"}
    compare("field", page, real, set(first_words(page.read_text())))


def calls(path: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the name of what is called."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            yield getattr(called, "attr", getattr(called, "id", "")), node


def texts(path: str, function: str, position: int) -> set[str]:
    """The constant texts that a function gets at a position."""
    return {
        argument.value
        for name, call in calls(path)
        if name == function
        for argument in call.args[position : position + 1]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_every_validation_code_is_documented() -> None:
    page = REFERENCE / "batches.md"
    above, _, below = section(page, "## Validation codes").partition("outside of validation")
    real = texts("worker/validation.py", "LineError", 0)
    real |= texts("worker/lines.py", "LineError", 0)
    assert len(real) > 10
    compare("validation code", page, real, set(first_words(above)))
    compare(
        "code of a failed batch",
        page,
        texts("worker/tasks/batches.py", "_fail", 1),
        set(first_words(below)),
    )


def test_every_code_of_a_request_without_an_answer_is_documented() -> None:
    from app.core import outputs

    page = REFERENCE / "batches.md"
    real = {code for code, _ in outputs._MISSING.values()}
    real |= texts("worker/endings.py", "_failed", 2)
    compare("code", page, real, set(first_words(section(page, "## The lines of the result files"))))


def test_every_field_that_a_batch_refuses_is_documented() -> None:
    from worker import bodies

    said = section(REFERENCE / "batches.md", "## The lines of the result files")
    for name in (*bodies._REFUSED, *bodies._OVERWRITTEN):
        assert f"`{name}`" in said, f"batches.md lacks the field {name}"


def test_every_error_code_of_the_api_is_documented() -> None:
    page = REFERENCE / "http.md"
    real = set()
    for folder in ("app/core", "app/api", "app"):
        for path in (ROOT / folder).rglob("*.py"):
            for _, call in calls(str(path.relative_to(ROOT))):
                for keyword in call.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        real.add(str(keyword.value.value))
    # Of the body's fields, in api/schemas.py.
    schemas = (ROOT / "app" / "api" / "schemas.py").read_text()
    real |= set(re.findall(r'message, code = .*, "(\w+)"$', schemas, re.M))
    described = {
        row[0].strip("`")
        for row in rows(section(page, "## Errors"))
        if re.fullmatch(r"`[a-z_]+`", row[0])
    }
    compare("error code", page, real, described)


def test_every_event_type_and_every_kind_of_alert_is_documented() -> None:
    page = REFERENCE / "webhooks.md"
    said = section(page, "## Webhook endpoints")
    real = set(re.findall(r"`((?:batch|job|incident)\.[a-z]+)`", said))
    compare("event type", page, set(EVENT_TYPES), real)
    page = REFERENCE / "alerts.md"
    compare("kind", page, set(KINDS), set(first_words(section(page, "## Kinds"))) - {"kind"})


def test_every_status_of_a_batch_is_documented_and_drawn() -> None:
    page = REFERENCE / "batches.md"
    text = section(page, "## The life of a batch").partition("### ")[0]
    compare("status", page, set(STATUSES), set(first_words(text)))
    drawn = set(re.findall(r"--> (\w+)", text))
    compare("status in the drawing", page, set(STATUSES), drawn)


@pytest.mark.parametrize(
    "view", ["batch_jobs", "background_jobs", "job_executions", "job_statistics"]
)
def test_every_column_of_a_view_is_documented(database_url: str, view: str) -> None:
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(f"SELECT * FROM {view} LIMIT 0").description or []  # type: ignore[call-overload]
    page = REFERENCE / "database.md"
    said = section(page, f"## The view `{view}`")
    compare("column", page, {column.name for column in columns}, set(first_words(said)))


def modules() -> list[str]:
    """What the pages tell to run with `python -m`."""
    text = "".join(page.read_text() for page in PAGES)
    return sorted(set(re.findall(r"python -m ([\w.]+)", text)))


@pytest.mark.parametrize("module", modules())
def test_every_module_that_a_page_tells_to_run_is_there(module: str) -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import importlib.util as i, sys; sys.exit(not i.find_spec({module!r}))",
        ],
        cwd=ROOT,
    )
    assert found.returncode == 0


def test_every_check_of_the_doctor_is_documented() -> None:
    page = REFERENCE / "commands.md"
    said = section(page, "## flask doctor")
    described = {
        name.strip() for row in rows(said) if "`" not in row[0] for name in row[0].split(",")
    }
    compare("check", page, {check.name for check in CHECKS} | {"database"}, described - {"Check"})
