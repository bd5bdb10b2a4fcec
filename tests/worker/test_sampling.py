"""Which sampling defaults a batch's record names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.engines import ModelSpec
from worker.engine.sampling import sampling_defaults

GIVEN = {"temperature": 0.6, "top_p": 0.95, "top_k": None, "max_new_tokens": 64, "eos_token_id": 2}
OVERRIDE = "--override-generation-config"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with defaults of its own, and another such file beside it."""
    for name, content in {"model": GIVEN, "other": {"min_p": 0.1}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "generation_config.json").write_text(json.dumps(content))
    (tmp_path / "plain").mkdir()
    return tmp_path


def spec(folder: Path, *flags: str, path: str = "model", **fields: Any) -> ModelSpec:
    return ModelSpec(name="m", registry_folder=folder, path=path, flags=flags, **fields)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ((), {"temperature": 0.6, "top_p": 0.95, "max_tokens": 64}),
        (("--generation-config=vllm",), {}),
        (("--generation_config", "other"), {"min_p": 0.1}),
        (("--generation-config", "absent"), None),
        (("--generation-config=vllm", OVERRIDE, '{"temperature": 0.1}'), {"temperature": 0.1}),
        (("--generation-config=other", f"{OVERRIDE}.top-k", "5"), {"min_p": 0.1, "top_k": 5}),
    ],
)
def test_the_models_own_defaults_apply_unless_flags_say_otherwise(
    folder: Path, flags: tuple[str, ...], found: dict[str, Any] | None
) -> None:
    assert sampling_defaults(spec(folder, *flags)) == found


def test_a_model_without_defaults_leaves_the_engines_own(folder: Path) -> None:
    assert sampling_defaults(spec(folder, path="plain")) == {}


def test_what_cannot_be_known_is_not_claimed(folder: Path) -> None:
    hub = {"HF_HUB_CACHE": str(folder)}
    assert sampling_defaults(spec(folder, path="org/not-fetched", env=hub)) is None
    assert sampling_defaults(spec(folder, command=("python",))) is None
    external = ModelSpec(name="m", registry_folder=folder, url="http://127.0.0.1:9")
    assert sampling_defaults(external) is None
    (folder / "model" / "generation_config.json").write_text("{")
    assert sampling_defaults(spec(folder)) is None
