"""The models registry: which models there are, where they lie and how their engine is started.

It is a TOML file, one table per model (docs/reference/models.md describes every field):

    [models."smollm2-135m-instruct"]
    path = "models/smollm2"            # relative to this file, absolute, or a hub id like org/name
    endpoints = ["/v1/chat/completions"]
    flags = ["--max-num-seqs", "64"]
"""

from __future__ import annotations

import re
import threading
import tomllib
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.core.errors import Invalid, NotFound, Unavailable

log = structlog.get_logger(__name__)

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
# vLLM's own default of --max-num-seqs on most GPUs; twice as many requests keep it fed.
DEFAULT_MAX_SEQUENCES = 256

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SET_BY_US = ("name", "registry_folder")


class RegistryError(Unavailable):
    """The registry can't be used; the message is one sentence: file, model, field and fault."""


class ModelSpec(BaseModel):
    """One model: what it serves, and either the engine we start for it or the URL that has one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Procrastinate's queue names have 128 characters; ours are `model:` and this.
    name: str = Field(min_length=1, max_length=120)
    registry_folder: Path
    path: str | None = Field(default=None, min_length=1)
    url: str | None = None
    api_key_env: str | None = Field(default=None, min_length=1)
    revision: str | None = None
    endpoints: tuple[str, ...] = ENDPOINTS
    flags: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    window: int | None = Field(default=None, ge=1, le=100_000)
    memory_bytes: int | None = Field(default=None, ge=0)
    command: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url.rstrip("/").removesuffix("/v1")

    @field_validator("endpoints")
    @classmethod
    def _known_endpoints(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [endpoint for endpoint in endpoints if endpoint not in ENDPOINTS]
        if unknown or not endpoints:
            raise ValueError(f"must be some of {', '.join(ENDPOINTS)}")
        return endpoints

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if (self.path is None) == (self.url is None):
            raise ValueError("path or url must be given, and not both")
        if self.path is None and (self.flags or self.env or self.command):
            raise ValueError("flags, env and command are for a model with a path")
        return self

    @property
    def is_external(self) -> bool:
        """Whether somebody else runs the engine."""
        return self.url is not None

    @property
    def folder(self) -> Path | None:
        """Where the model's files lie; None for a hub id and for an external engine.

        The folder need not exist: only what looks like a hub id and lies nowhere is one.
        """
        if self.path is None:
            return None
        folder = self.registry_folder / Path(self.path).expanduser()
        if not folder.exists() and _HUB_ID.fullmatch(self.path) and not folder.parent.exists():
            return None
        return folder.resolve()

    @property
    def source(self) -> str:
        """What the engine is told to load: a folder, a hub id, or the URL of an external engine."""
        if self.url is not None:
            return self.url
        return str(self.folder or self.path)

    def flag(self, name: str) -> str | None:
        """The value of an engine flag such as `--max-num-seqs`; "" when it stands alone."""
        value: str | None = None
        for position, word in enumerate(self.flags):
            key, equals, rest = word.partition("=")
            if key.replace("_", "-") != name:
                continue
            following = self.flags[position + 1 : position + 2]
            if equals:
                value = rest
            elif following and not following[0].startswith("--"):
                value = following[0]
            else:
                value = ""
        return value

    def request_window(self) -> int:
        """How many requests to keep in flight: twice what the engine runs at once."""
        return 2 * self.max_sequences() if self.window is None else self.window

    def max_sequences(self) -> int:
        """How many requests the engine runs at once."""
        sequences = self.flag("--max-num-seqs") or ""
        return int(sequences) if sequences.isdecimal() else DEFAULT_MAX_SEQUENCES


class Registry(BaseModel):
    """All models, by name."""

    model_config = ConfigDict(frozen=True)

    models: dict[str, ModelSpec] = Field(default_factory=dict)

    def get(self, name: str) -> ModelSpec:
        """The model of that name; NotFound (code model_not_found) when there is none."""
        spec = self.models.get(name)
        if spec is None:
            raise NotFound(
                f"The model `{name}` does not exist.", param="model", code="model_not_found"
            )
        return spec

    def require_served(self, endpoint: str, model: str | None = None) -> None:
        """Raises Invalid when an endpoint that batches know is served by no model, or not by `model`.

        Raises NotFound when there is no such model.
        """
        models = self.models.values() if model is None else [self.get(model)]
        if endpoint not in ENDPOINTS or any(endpoint in spec.endpoints for spec in models):
            return
        raise Invalid(
            f"No model of this server serves {endpoint}; GET /v1/models says what each serves."
            if model is None
            else f"The model `{model}` does not serve {endpoint}.",
            param="endpoint",
        )


class RegistryFile:
    """The registry as its file says at this moment; cheap enough to ask for every request.

    A file that was good and is broken by an edit changes nothing until it is mended: what runs
    goes on with what it knew, and the fault is logged once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._registry = Registry()

    def read(self) -> Registry:
        """The registry, read again only when its file has changed.

        Raises RegistryError when the file has not been good since this process began.
        """
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            return Registry()
        with self._lock:
            if stamp != self._stamp:
                try:
                    self._registry = load_registry(self.path)
                except RegistryError as fault:
                    if self._stamp is None:
                        raise
                    log.error("models.ignored", error=fault.message)
                self._stamp = stamp
            return self._registry


def load_registry(path: Path) -> Registry:
    """Read the registry; no file means no models. Raises RegistryError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Registry()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise RegistryError(f"The models file {path} is not valid TOML: {fault}.") from fault
    except OSError as fault:
        raise RegistryError(f"The models file {path} can't be read: {fault.strerror}.") from fault
    for key in content:
        if key != "models":
            raise RegistryError(f'The models file {path} has "{key}"; only [models.*] is known.')
    tables = content.get("models", {})
    if not isinstance(tables, dict):
        raise RegistryError(f"The models file {path} must have one table [models.NAME] per model.")
    folder = path.resolve().parent
    return Registry(models={name: _spec(path, folder, name, tables[name]) for name in tables})


def _spec(path: Path, folder: Path, name: str, table: object) -> ModelSpec:
    where = f'The models file {path}, model "{name}"'
    if not isinstance(table, dict):
        raise RegistryError(f"{where}, must be a table.")
    for key in _SET_BY_US:
        if key in table:
            raise RegistryError(f"{where}, field {key}: this field does not exist.")
    try:
        return ModelSpec.model_validate({**table, "name": name, "registry_folder": folder})
    except ValidationError as fault:
        first = fault.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "path"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "this field does not exist"
        raise RegistryError(f"{where}, field {field}: {message}.") from fault
