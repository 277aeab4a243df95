"""Weights in a repository of the Hugging Face Hub: what lies there, and how it is fetched.

| file | content |
|---|---|
| `config.json` | which network it is; the Hub counts downloads by it |
| `model.safetensors` | the weights |
| `model.json` | how they were made, and what was measured |
| `README.md` | the model card |
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from maml.plain import parse_json

CONFIG, WEIGHTS, RECORD, CARD = "config.json", "model.safetensors", "model.json", "README.md"
LIBRARY = "maml-sketchpad"


class _OtherKind(ValueError):
    """A repository that holds something else."""


def fetch_weights(name: str, revision: str | None = None) -> Path:
    """Fetch weights from the Hub, or find them among those fetched before.

    Args:
        name: of the repository, `owner/name`.
        revision: a branch, tag or commit; None takes the main branch.

    Returns:
        The path of `model.safetensors`, with `model.json` beside it if there is one.

    Raises:
        ValueError: if they cannot be had, or the repository holds something else.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def fetch(file: str) -> Path:
        endpoint = os.environ.get("HF_ENDPOINT")
        return Path(hf_hub_download(name, file, revision=revision, endpoint=endpoint))

    try:
        with contextlib.suppress(EntryNotFoundError):  # the first repositories had none
            _check_config(name, fetch(CONFIG))
        path = fetch(WEIGHTS)
        with contextlib.suppress(EntryNotFoundError):
            fetch(RECORD)
    except _OtherKind as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever the Hub's answer brings about
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Cannot get {name!r} from the Hugging Face Hub: {reason}") from error
    return path


def _check_config(name: str, path: Path) -> None:
    """Find out from a small file that a repository is of another kind, before a large one comes."""
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _OtherKind(f"The {CONFIG} of {name!r} is not readable JSON: {error}.") from error
    kind = config.get("model_type") if isinstance(config, dict) else config
    if kind != LIBRARY:
        raise _OtherKind(
            f"{name!r} does not hold weights of MAML Sketchpad: model_type in its {CONFIG} must be "
            f"{LIBRARY!r}; got {str(kind)[:40]!r}."
        )
