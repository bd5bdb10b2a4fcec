"""All settings: one typed object, read from the environment and an optional `stoker.toml`.

The environment wins over the file. Names in the environment are `STOKER_` + the upper-case field
name, except `DATABASE_URL`, which keeps its customary name. docs/reference/settings.md lists them.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as SourceError

Seconds = Annotated[float, Field(gt=0)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]

_PREFIX = re.compile(r"(/[A-Za-z0-9_-]+)+")


class SettingsError(Exception):
    """A setting can't be used; the message is one sentence that names it."""


class Settings(BaseSettings):
    """What an operator may choose. Every field has a default that works on one machine."""

    model_config = SettingsConfigDict(
        env_prefix="STOKER_", extra="forbid", frozen=True, populate_by_name=True
    )

    var: Path = Field(Path("var"), description="Folder of everything Stoker writes.")
    database_url: str = Field(
        "",
        description="Postgres URL. Empty: the embedded server under the data folder.",
        validation_alias="DATABASE_URL",
    )
    models_file: Path | None = Field(
        None, description="Model registry (TOML). Default: models.toml in the data folder."
    )
    secret_key: str = Field(
        "", description="Signs CSRF tokens. Empty: made once and kept in the data folder."
    )
    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(4080, ge=1, le=65535, description="Port the web server listens on.")
    url_prefix: str = Field(
        "",
        description="Path below which a proxy shows the pages, such as /stoker. Empty: the whole "
        "host is Stoker's.",
    )
    proxy_hops: int = Field(
        0,
        ge=0,
        le=8,
        description="Proxies in front of the web server that say for whom they ask "
        "(`X-Forwarded-For`): 1 behind nginx. The audit trail has that address; with 0 the header "
        "counts for nothing.",
    )
    web_workers: int = Field(1, ge=1, le=64, description="Web server processes.")
    web_threads: int = Field(32, ge=4, le=4096, description="Threads of each web server process.")
    stream_limit: int = Field(
        16,
        ge=0,
        le=4096,
        description="Live streams and waiting polls per web process, fewer where its threads don't "
        "suffice; beyond it pages refresh on their timer.",
    )
    stream_user_limit: int = Field(
        100,
        ge=1,
        le=4096,
        description="Live streams and waiting polls of one user per web process.",
    )
    stream_port: int = Field(
        4081, ge=1, le=65535, description="Port of the process that only streams, behind nginx."
    )
    stream_threads: int = Field(
        1100,
        ge=16,
        le=4096,
        description="Threads of the process that only streams; each live stream holds one.",
    )
    page_timeout_seconds: Seconds = Field(
        5.0, description="Statement time-out of a page's or an API call's queries."
    )
    pool_size: int = Field(10, ge=1, le=200, description="Database connections per web process.")
    read_only_pages: bool = Field(
        False,
        description="Whether browsers may only look: the pages change nothing and offer no action, whoever "
        "is signed in. API keys and commands work as ever.",
    )
    session_days: float = Field(7.0, gt=0, le=90, description="How long a browser stays signed in.")
    session_idle_hours: float = Field(
        48.0,
        gt=0,
        le=2160,
        description="A browser that asks nothing for this long is signed out.",
    )
    sign_in_link_minutes: float = Field(
        60.0, gt=0, le=1440, description="How long a one-time sign-in link can be used."
    )
    secure_cookies: bool = Field(
        False, description="Send the session cookie over https only (set it behind TLS)."
    )
    max_upload_bytes: int = Field(
        2 * 1024**3, ge=1024, description="Largest file that can be uploaded, in bytes."
    )
    max_batch_requests: int = Field(
        5_000_000,
        ge=0,
        description="Most requests in one batch (validation code too_many_tasks); 0 for no limit.",
    )
    max_batch_tokens: int = Field(
        100_000_000_000,
        ge=1,
        description="Most tokens in one batch by our estimate (validation code "
        "token_limit_exceeded).",
    )
    media_hosts: tuple[str, ...] = Field(
        (), description="Hosts that image, audio and video URLs in requests may name."
    )
    max_line_bytes: int = Field(
        10 * 1024**2, ge=1024, description="Longest line of a batch file, in bytes."
    )
    min_free_disk_bytes: int = Field(
        256 * 1024**2, ge=0, description="Uploads are refused when less than this is free."
    )
    concurrent_jobs: int = Field(
        10,
        ge=0,
        le=10_000,
        description="Batches in the engine and built-in tasks that run at once, in all workers; more "
        "wait. 0 for no limit.",
    )
    user_concurrent_jobs: int = Field(
        3,
        ge=0,
        le=10_000,
        description="The same, of one user. 0 for no limit.",
    )
    user_queued_jobs: int = Field(
        1000,
        ge=0,
        description="Batches and tasks that one user may have waiting; a further one is refused. 0 "
        "for no limit.",
    )
    user_queued_bytes: int = Field(
        64 * 1024**3,
        ge=0,
        description="Bytes that the input files of one user's open batches may have. 0 for no limit.",
    )
    worker_gone_seconds: float = Field(
        60.0,
        ge=0,
        description="When the worker has been gone for this long, batches are refused. 0: never.",
    )
    gpu_max_celsius: int = Field(
        90,
        ge=0,
        le=150,
        description="While every worker's GPU is as hot as this, batches are refused. 0: never.",
    )
    file_days: float = Field(30.0, gt=0, description="How long a batch's files are kept.")
    backup_keep: int = Field(
        7, ge=1, le=1000, description="Backups that are kept; an older one goes when one is made."
    )
    worker_heartbeat_seconds: Seconds = Field(5.0, description="How often a worker says it lives.")
    worker_stale_seconds: Seconds = Field(
        30.0, description="Without a heartbeat for this long a worker counts as lost."
    )
    quarantine_crashes: int = Field(
        3,
        ge=1,
        le=100,
        description="A job under which so many workers died is failed instead of put back.",
    )
    worker_drain_seconds: float = Field(
        4.0,
        ge=0,
        le=3600,
        description="On SIGTERM, how long requests in flight may still finish before they are "
        "put back.",
    )
    preload: bool = Field(
        True,
        description="Load the last used (else the first) model when the worker starts.",
    )
    poll_seconds: Seconds = Field(
        0.5, description="How often the worker looks for work without being told."
    )
    max_running_batches: int = Field(
        8, ge=1, le=64, description="Batches that may share the engine's window at once."
    )
    task_slots: int = Field(
        2,
        ge=1,
        le=16,
        description="Exports, backups and other built-in tasks that may run at once.",
    )
    abort_grace_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="How long a built-in task may take to stop for an abort; then its worker is "
        "ended and started again.",
    )
    job_timeout_seconds: Seconds = Field(
        72 * 3600.0,
        description="How long an attempt of a job may run that was deferred without a time-out of "
        "its own; batches have their completion window instead.",
    )
    job_timeout_grace_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="How long a task that was asked to stop at its time-out may take for that; then "
        "its job fails and its worker is ended.",
    )
    model_turn_seconds: Seconds = Field(
        900.0,
        description="Fairness bound: a batch that waits this long for its model makes the worker "
        "swap models.",
    )
    flush_rows: int = Field(64, ge=1, le=10_000, description="Results written at once at most.")
    flush_seconds: Seconds = Field(0.25, description="Longest time a result waits to be written.")
    engine_start_seconds: Seconds = Field(
        900.0, description="Longest time the engine may take to become ready."
    )
    engine_stall_seconds: Seconds = Field(
        120.0,
        description="Without any token for this long, with requests in it, the engine is "
        "restarted.",
    )
    engine_restart_limit: int = Field(
        5,
        ge=1,
        le=1000,
        description="Failed engine starts in a row before a batch that needs it is failed.",
    )
    request_timeout_seconds: Seconds = Field(
        3600.0, description="Longest time one request may take in the engine."
    )
    housekeeping_seconds: Seconds = Field(
        5.0, description="How often the housekeeper looks for lost jobs and expired batches."
    )
    archive_after_seconds: float = Field(
        600.0,
        ge=0,
        description="Finished rows leave Procrastinate's tables when this old; the record keeps "
        "the jobs.",
    )
    archive_rows: int = Field(
        2000, ge=1, le=5000, description="Finished rows that leave in one transaction at most."
    )
    archive_foreign: bool = Field(
        False,
        description="Let finished rows of tasks that are not Stoker's own leave Procrastinate's "
        "tables, too.",
    )
    waiting_horizon_seconds: Seconds = Field(
        600.0,
        description="Jobs that are due later than this wait in Stoker's own table until then.",
    )
    queue_indexes: int = Field(
        16,
        ge=0,
        le=100,
        description="Queues that have an index of their own at most; 0 for none.",
    )
    retention_hour: int = Field(
        3, ge=0, le=23, description="Hour (UTC) of the day at which the retention runs."
    )
    job_days: float = Field(
        180.0,
        gt=0,
        description="How long ended jobs and batches, and the statistics of them, are kept.",
    )
    completed_days: float | None = Field(
        None,
        gt=0,
        description="The same for completed jobs alone, shorter or longer; `STOKER_JOB_DAYS` without it.",
    )
    failed_days: float | None = Field(
        None,
        gt=0,
        description="The same for failed jobs alone.",
    )
    cancelled_days: float | None = Field(
        None,
        gt=0,
        description="The same for cancelled jobs alone.",
    )
    result_ttl_seconds: float = Field(
        0.0,
        ge=0,
        description="How long a job's result is kept after its end; the daily run of the retention "
        "empties what is older. 0: as long as the job.",
    )
    task_result_ttl_seconds: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description='The same for some tasks, as JSON: {"export": 86400}.',
    )
    type_labels: dict[Annotated[str, Field(min_length=1)], Label] = Field(
        {},
        description="What people call types of jobs, by the task's name, as JSON: "
        '{"shop.tasks.charge_card": "Card charge"}.',
    )
    type_descriptions: dict[Annotated[str, Field(min_length=1)], Sentence] = Field(
        {},
        description="What types of jobs do, the same way.",
    )
    idempotency_days: float = Field(
        7.0, ge=1, description="How long the idempotency keys of deferred jobs are kept."
    )
    log_days: float = Field(14.0, gt=0, description="How long jobs' log lines are kept.")
    incident_days: float = Field(
        365.0, gt=0, description="How long incidents are kept after they were last seen."
    )
    firing_days: float = Field(
        30.0, ge=1, description="How long a schedule's history of its runs is kept."
    )
    audit_days: float = Field(365.0, gt=0, description="How long the audit trail is kept.")
    webhook_days: float = Field(
        90.0, gt=0, description="How long ended webhook deliveries are kept."
    )
    ended_session_days: float = Field(
        0.0, ge=0, description="How long ended browser sessions and links are kept."
    )
    worker_days: float = Field(
        30.0, gt=0, description="How long workers that have stopped are remembered."
    )
    sample_days: float = Field(
        30.0, gt=0, description="How long it is kept how busy GPU, CPU and memory were."
    )
    overlaps_per_day: int = Field(
        50,
        ge=1,
        description="Two types of job that run at once more often within a day open an incident.",
    )
    schedules_per_user: int = Field(
        100, ge=0, description="Schedules that one user may have at most."
    )
    webhook_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that webhooks may name although their address is private or their "
        "port is neither 80 nor 443.",
    )
    webhook_retry_seconds: Seconds = Field(
        5.0,
        description="Pause after a webhook's first failed try; each further one is six times "
        "longer, up to an hour.",
    )
    webhook_retry_hours: float = Field(
        72.0,
        gt=0,
        le=720,
        description="How long an event is tried again for a webhook endpoint or an e-mail address "
        "until it is a dead letter.",
    )
    alert_seconds: Seconds = Field(
        15.0, description="How often the housekeeper looks at the figures of the alert rules."
    )
    alert_days: float = Field(
        365.0, gt=0, description="How long alerts are kept after they were resolved."
    )
    public_url: str = Field(
        "",
        description="Where people find the pages, such as https://stoker.example.org: alerts link "
        "to them.",
    )
    smtp_host: str = Field(
        "", description="The mail server that alerts go through. Empty: no e-mail is sent."
    )
    smtp_port: int = Field(587, ge=1, le=65535, description="The mail server's port.")
    smtp_security: str = Field(
        "starttls",
        pattern="^(starttls|tls|none)$",
        description="How the way to the mail server is secured: STARTTLS (587), TLS from the "
        "first byte (465), or not at all.",
    )
    smtp_user: str = Field("", description="The login at the mail server. Empty: none.")
    smtp_password: SecretStr = Field(SecretStr(""), description="The password of that login.")
    smtp_from: str = Field("stoker@localhost", description="The sender's address of e-mails.")
    smtp_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=25,
        description="Longest time that one step of the talk with the mail server may take.",
    )
    log_format: str = Field(
        "console", pattern="^(console|json)$", description="Log lines as text or as JSON."
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least level that is logged."
    )

    @field_validator("database_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return url

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with https:// or http://")
        return url.rstrip("/")

    @field_validator("url_prefix")
    @classmethod
    def _plain_path(cls, prefix: str) -> str:
        prefix = prefix.rstrip("/")
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError("must be a path of letters, digits, - and _, such as /stoker")
        return prefix

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, secret: str) -> str:
        if secret and len(secret) < 32:
            raise ValueError("must have 32 characters or more")
        return secret

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("STOKER_CONFIG", "stoker.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @cached_property
    def var_path(self) -> Path:
        """The data folder, absolute."""
        return self.var.resolve()

    @property
    def result_days(self) -> float:
        """How long results of jobs are kept at least, of tasks that have no time of their own."""
        return self.result_ttl_seconds / 86_400 or self.job_days

    @property
    def stream_places(self) -> int:
        """How many streams a web process keeps open: some of its threads stay free for the rest."""
        return min(self.stream_limit, self.web_threads - min(64, self.web_threads // 4))

    @property
    def files_path(self) -> Path:
        """Where uploaded and result files lie."""
        return self.var_path / "files"

    @property
    def backups_path(self) -> Path:
        """Where dumps of the database lie."""
        return self.var_path / "backups"

    @property
    def models_path(self) -> Path:
        """The model registry's file."""
        return (self.models_file or self.var_path / "models.toml").resolve()

    @property
    def results_path(self) -> Path:
        """Where results of jobs lie that are too large for the record."""
        return self.var_path / "results"

    @property
    def logs_path(self) -> Path:
        """Where the worker's and its engines' output lies."""
        return self.var_path / "logs"

    @property
    def run_path(self) -> Path:
        """Sockets and pid files of the processes that run now."""
        return self.var_path / "run"


def load_settings(**overrides: object) -> Settings:
    """Read the settings.

    Raises SettingsError with one sentence that names the first wrong setting and its value's fault.
    """
    try:
        _refuse_unknown_names()
        _refuse_absent_file()
        return Settings(**overrides)  # type: ignore[arg-type]
    except tomllib.TOMLDecodeError as fault:
        file = os.environ.get("STOKER_CONFIG", "stoker.toml")
        raise SettingsError(f"{file} is not valid TOML: {fault}.") from fault
    except SourceError as fault:
        name = str(fault).partition('"')[2].partition('"')[0]
        raise SettingsError(
            f"The setting {_shown_name(name)} can't be used: its value is not JSON."
        ) from fault
    except ValidationError as fault:
        first = fault.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise SettingsError(
            f"The setting {_shown_name(name)} can't be used: {first['msg'].removeprefix('Value error, ')}."
        ) from fault


def _shown_name(name: str) -> str:
    if name.upper() == "DATABASE_URL":
        return "DATABASE_URL"
    return f"{name} (environment: STOKER_{name.upper()})"


def _refuse_absent_file() -> None:
    """The customary file may be absent; one that was named may not."""
    named = os.environ.get("STOKER_CONFIG")
    if named is not None and not Path(named).exists():
        raise SettingsError(f"STOKER_CONFIG names a file that does not exist: {named}.")


def _refuse_unknown_names() -> None:
    """A misspelt STOKER_ variable would otherwise be ignored in silence."""
    known = {f"STOKER_{name.upper()}" for name in Settings.model_fields} | {"STOKER_CONFIG"}
    for name in sorted(os.environ):
        if name.startswith("STOKER_") and name not in known:
            raise SettingsError(f"The environment names a setting that does not exist: {name}.")
