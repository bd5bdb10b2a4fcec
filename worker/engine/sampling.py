"""Which sampling parameters apply where a request names none: vLLM's own, or the model's.

vLLM takes the model's `generation_config.json` for its defaults unless `--generation-config` says
otherwise (config/model.py, get_diff_sampling_param), so that two servers with the same flags can
answer differently: what applied belongs to a batch's record.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.core.engines import ModelSpec

_FILE = "generation_config.json"
_OVERRIDE = "--override-generation-config"
_PARAMETERS = {
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "max_new_tokens": "max_tokens",
}


def sampling_defaults(spec: ModelSpec) -> dict[str, Any] | None:
    """What takes the place of vLLM's own defaults (nothing: {}); None when it can't be known here."""
    if spec.is_external or spec.command:
        return None
    match spec.flag("--generation-config") or "auto":
        case "vllm":
            found: dict[str, Any] | None = {}
        case "auto":
            found = _of_model(spec)
        case folder:
            # The engine runs in the registry's folder.
            found = _fields(spec.registry_folder / Path(folder).expanduser() / _FILE)
    if found is None:
        return None
    given = {**found, **_overrides(spec)}
    return {name: given[key] for key, name in _PARAMETERS.items() if given.get(key) is not None}


def _of_model(spec: ModelSpec) -> dict[str, Any] | None:
    if spec.folder is not None:
        return _fields(spec.folder / _FILE) if (spec.folder / _FILE).exists() else {}
    # The engine has fetched a hub model's files by now.
    try:
        from huggingface_hub import try_to_load_from_cache

        home = spec.env.get("HF_HOME")
        cache = spec.env.get("HF_HUB_CACHE") or (f"{home}/hub" if home else None)
        found = try_to_load_from_cache(spec.source, _FILE, cache_dir=cache, revision=spec.revision)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    return _fields(Path(found)) if isinstance(found, str) else {}  # it is known to be absent


def _fields(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _overrides(spec: ModelSpec) -> dict[str, Any]:
    """Of `--override-generation-config`, whole as JSON or a field at a time after a dot."""
    found: dict[str, Any] = {}
    whole = _value(spec.flag(_OVERRIDE) or "{}")
    if isinstance(whole, dict):
        found |= whole
    for key in _PARAMETERS:
        value = spec.flag(f"{_OVERRIDE}.{key.replace('_', '-')}")
        if value:
            found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
