"""The `flask` commands: everything an operator can do from a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def register(app: Flask) -> None:
    """Attach the commands.

    They are imported here and not above, so that `python -m app.cli.up` loads no Flask.
    """
    from app.cli.adopt import adopt_command
    from app.cli.alerts import alerts_group
    from app.cli.audit import audit_group
    from app.cli.backup import backup_group
    from app.cli.batches import batches_group
    from app.cli.doctor import doctor_command
    from app.cli.jobs import jobs_group
    from app.cli.keys import keys_group
    from app.cli.queues import queues_group
    from app.cli.retention import retention_group
    from app.cli.schedules import schedules_group
    from app.cli.tasks import tasks_group
    from app.cli.up import up_command
    from app.cli.users import users_group
    from app.cli.webhooks import webhooks_group
    from app.cli.workers import workers_group

    for command in (
        up_command,
        adopt_command,
        doctor_command,
        users_group,
        keys_group,
        batches_group,
        workers_group,
        tasks_group,
        schedules_group,
        jobs_group,
        queues_group,
        retention_group,
        backup_group,
        webhooks_group,
        alerts_group,
        audit_group,
    ):
        app.cli.add_command(command)
