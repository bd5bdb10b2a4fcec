"""What the shell offers at <Tab>: names and ids out of the database, the models file and the code.

A question that can't be answered offers nothing; the shell shows no faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem
from flask.cli import ScriptInfo

from app.core import backups, batches, tasks, users
from app.core.engines import load_registry
from app.extensions import current_settings, db

_MOST = 50

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offered(find: Callable[[], Iterable[CompletionItem]]) -> Offer:
    def offer(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with ctx.ensure_object(ScriptInfo).load_app().app_context():
                found = list(find())
        except Exception:
            return []
        return [item for item in found if str(item.value).startswith(incomplete)]

    return offer


@_offered
def batch_ids() -> Iterable[CompletionItem]:
    """The newest batches."""
    found, _ = batches.list_batches(db.session(), None, after=None, limit=_MOST)
    return [
        CompletionItem(batch.id, help=f"{batch.status} {batch.model or ''}".strip())
        for batch in found
    ]


@_offered
def model_names() -> Iterable[CompletionItem]:
    """The models of the registry."""
    return map(CompletionItem, load_registry(current_settings().models_path).models)


@_offered
def user_names() -> Iterable[CompletionItem]:
    """Everybody who may sign in."""
    return [CompletionItem(user.name) for user in users.list_users(db.session())]


@_offered
def task_names() -> Iterable[CompletionItem]:
    """The built-in tasks."""
    found = tasks.TASKS.values()
    return [
        CompletionItem(spec.name, help=spec.description) for spec in found if spec.is_deferrable
    ]


@_offered
def backup_names() -> Iterable[CompletionItem]:
    """The backups in the data folder."""
    return [CompletionItem(backup.name) for backup in backups.list_backups(current_settings())]
