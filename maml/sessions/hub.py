"""Weights go to a repository of the visitor's own on the Hugging Face Hub, with a model card."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from maml.checkpoint import describe_network, load_pretrained
from maml.hub import CARD, CONFIG, LIBRARY, RECORD, WEIGHTS
from maml.model import MetaNetwork
from maml.plain import parse_json

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")
"""No character that a message would show in another form, in which it would not be found."""


def push_to_hub(weights: Path, name: str, token: str, *, private: bool = False) -> str:
    """Upload weights with their configuration, provenance and a model card, in one commit.

    `maml.load_pretrained(name)` loads them again.

    Args:
        weights: a `.safetensors` file with its `.json` beside it.
        name: of the repository, `owner/name`; it is made if it is not there.
        token: the visitor's; used for this upload, kept nowhere, and left out of every message.
        private: whether a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        ValueError: if name or token cannot be used, or the Hub refuses; the text says why.
        OSError: if the Hub cannot be reached.
    """
    name, token = (name or "").strip(), (token or "").strip()
    if not _NAME.fullmatch(name):
        raise ValueError(f"A repository's name must read owner/name; got {name!r}.")
    if not token:
        raise ValueError("An access token with the right to write is needed.")
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "An access token has letters, digits, and _ . - only; copy it again, without spaces "
            "and line breaks."
        )
    record = weights.with_suffix(".json")
    try:
        card = model_card(name, parse_json(record.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{record.name} does not say how these weights were made ({error!r}); train again, or "
            "mend it."
        ) from error
    files = {
        CONFIG: (json.dumps(config_of(load_pretrained(weights)), indent=2) + "\n").encode(),
        WEIGHTS: weights.read_bytes(),
        RECORD: record.read_bytes(),
        CARD: card.encode(),
    }
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.create_commit(
            name,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message="Weights trained with MAML Sketchpad",
        )
    except (HfHubHTTPError, HFValidationError, ValueError) as error:
        # Without a chain: the request, and with it the token, must not get into any log.
        raise ValueError(f"The Hub refused: {_first_line(error, token)}") from None
    except (HTTPError, OSError) as error:
        raise OSError(f"The Hub could not be reached: {_first_line(error, token)}") from None
    except Exception as error:
        raise ValueError(
            f"The Hub's answer makes no sense: {type(error).__name__}: {_first_line(error, token)}"
        ) from None
    return str(commit.commit_url)


def config_of(model: MetaNetwork) -> dict[str, Any]:
    """What `config.json` says of a network, ready for JSON."""
    header = describe_network(model)
    return {
        "library_name": LIBRARY,
        "model_type": LIBRARY,
        "format": header["format"],
        "network": parse_json(header["network"]),
        "inner": parse_json(header["inner"]),
    }


def _first_line(error: Exception, token: str) -> str:
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (401, 403):
        return "the token is not valid, or has no right to write there."
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].replace(token, "(token)")


def model_card(name: str, provenance: dict[str, Any]) -> str:
    """The README of a repository of weights: recipe, measured accuracy, how to use them.

    Args:
        name: of the repository.
        provenance: the `.json` beside the weights.
    """
    data = provenance["data"]
    tested = provenance.get("last_evaluation_in_training")
    lines = [
        "---",
        "library_name: maml-sketchpad",
        "license: mit",
        "tags: [maml, meta-learning, few-shot-learning, handwriting]",
        "---",
        f"# {name.partition('/')[2]}",
        "",
        "A meta-learned starting point: a few gradient steps on a few drawings of each symbol make",
        "it a classifier of these symbols. Trained with MAML Sketchpad.",
        "",
        f"- Recipe: `{provenance['recipe']}`, seed {provenance['seed']}",
        f"- Characters: {data['name']}, split `{data['split']}`, "
        f"{len(data['training_alphabets'])} alphabets for training",
        f"- Parameters: {provenance['parameters']:,}",
        f"- Commit of the code: `{provenance['commit']}`",
    ]
    if "doodles" in data:
        lines.append(f"- Doodles: {data['doodles']}")
    for part in provenance.get("trained", []):
        command = part.get("command") or f"recipe {part['recipe']}"
        hours = part.get("made_with", {}).get("hours")
        lines.append(f"- Trained by: `{command}`" + (f", {hours} hours" if hours else ""))
    if "iteration" in provenance:
        lines.append(f"- Steps: {provenance['iteration']:,} of {provenance['iterations']:,}")
    if tested:
        mode = "queries normalised together" if tested["transductive"] else "one query at a time"
        seen = "held out of the training part" if data["held_out_of_training"] else "the test part"
        half = tested["interval"]
        interval = "" if half is None else f" +- {100 * half:.2f}"
        lines.append(
            f"- Measured accuracy: {100 * tested['accuracy']:.2f}{interval} % "
            f"({tested['protocol']}, {mode}, {tested['tasks']} tasks of {seen})"
        )
    elif not provenance.get("suite"):
        lines.append("- Measured accuracy: not measured")
    lines += _suite(provenance.get("suite"), provenance.get("suite_measured_with"))
    settings = json.dumps(provenance["settings"], indent=2)
    return "\n".join(
        [
            *lines,
            "",
            "## Use",
            "```python",
            "import maml",
            f'model = maml.load_pretrained("{name}")',
            "learner = maml.adapt(model, maml.SupportSet(images, labels, names))",
            "answer = learner.predict(more_images)",
            "```",
            "",
            "## Settings",
            "```json",
            settings,
            "```",
            "",
        ]
    )


def _suite(rows: Any, measured_with: Any) -> list[str]:
    """The table of what `maml evaluate --suite` measured, or nothing."""
    if not isinstance(rows, list) or not rows:
        return []
    lines = ["", "## Measured", "", "| measure | value | tasks |", "|---|---|---|"]
    for row in rows:
        value = f"{row['value']:.2f}"
        if row.get("interval") is not None:
            value += f" +- {row['interval']:.2f}"
        lines.append(f"| {row['measure']} | {value} {row['unit']} | {row.get('tasks') or ''} |")
    if isinstance(measured_with, dict) and measured_with.get("commit"):
        lines += ["", f"Measured with the code of commit `{measured_with['commit']}`."]
    return lines
