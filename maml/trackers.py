"""Hands a run's records to trackio or TensorBoard, where people keep their runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from maml.config import Recipe
from maml.plain import to_plain

Tracker = Literal["trackio", "tensorboard"]

_PROJECT = "maml-sketchpad"
_MODULES: dict[Tracker, str] = {
    "trackio": "trackio",
    "tensorboard": "torch.utils.tensorboard",
}
Log = Callable[[Mapping[str, Any]], None]
"""Takes what `maml.runs.log_record` makes of a record."""


@contextmanager
def tracked(kind: Tracker | None, folder: Path, recipe: Recipe) -> Iterator[Log]:
    """Log records while the block runs.

    Args:
        kind: where to; None logs nowhere.
        folder: of the run; its name is the run's in trackio, and TensorBoard's files go into it.
        recipe: of the run.

    Raises:
        ValueError: if the package is not installed.
    """
    if kind is None:
        yield lambda record: None
        return
    try:
        module: Any = importlib.import_module(_MODULES[kind])
    except ImportError as error:
        raise ValueError(
            f"--log {kind} needs the package {kind}; pip install 'maml-sketchpad[{kind}]'; got "
            f"{error}"
        ) from error
    if kind == "tensorboard":
        with module.SummaryWriter(str(folder / "tensorboard")) as writer:
            writer.add_text("recipe", str(to_plain(recipe)))

            def write(record: Mapping[str, Any]) -> None:
                for name, value in _figures(record).items():
                    writer.add_scalar(name, value, record["iteration"], walltime=record["time"])

            yield write
        return
    module.init(project=_PROJECT, name=folder.resolve().name, config=to_plain(recipe))
    try:
        yield lambda record: module.log(_figures(record), step=record["iteration"])
    finally:
        module.finish()


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Figures by name: accuracies in percent, losses in nats."""
    mode = record["mode"]
    others = {f"{mode}/acc {shape}": acc for shape, acc in record.get("others", {}).items()}
    return {f"{mode}/loss": record["loss"], f"{mode}/acc": record["acc"], **others}
