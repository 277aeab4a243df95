"""Adapted learners on disk: one safetensors file each, from which nothing is unpickled.

The header holds the network's description and provenance, the names of the ways, and a SHA-256 of
everything else in the file.  The tensors are

model/NAME          the network before adaptation
path/STEP/NAME      the adapted tensors after each inner step, step 0 first
features, labels    the support set, as the inner loop saw it
trajectory          float64 (steps + 1, 2): support loss and accuracy after each step
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from maml.checkpoint import (
    CheckpointError,
    check_provenance,
    check_tensor,
    compact,
    describe_network,
    describe_origin,
    fill_network,
    read_tensors,
    rebuild_network,
    write_atomically,
)
from maml.config import LARGEST_STEPS, LARGEST_WAYS
from maml.drawing import INK_SIZE
from maml.model import MetaNetwork
from maml.plain import parse_json

_FORMAT = "maml-sketchpad-learner/1"


@dataclass(frozen=True, eq=False)
class LearnerState:
    """Everything that an adapted learner answers from.

    Args:
        model: the network before adaptation.
        path: the adapted tensors of the task network after each inner step, step 0 first.
        trajectory: support loss and accuracy after each step.
        features: `model.features` of the support set, (n, ...).
        labels: int64 (n,).
        names: of the ways.
    """

    model: MetaNetwork
    path: list[list[Tensor]]
    trajectory: list[tuple[float, float]]
    features: Tensor
    labels: Tensor
    names: tuple[str, ...]


def write_learner(path: Path, state: LearnerState) -> None:
    """Write a learner atomically.

    Raises:
        ValueError: if it holds values that are not finite.
        OSError: if the file cannot be written; what stood there before stays whole.
    """
    named = _task_tensors(state.model, len(state.names))
    tensors = {f"model/{name}": compact(value) for name, value in state.model.state_dict().items()}
    for step, adapted in enumerate(state.path):
        for name, value in zip(named, adapted, strict=True):
            tensors[f"path/{step}/{name}"] = value
    tensors["features"] = state.features
    tensors["labels"] = state.labels
    tensors["trajectory"] = torch.tensor(state.trajectory, dtype=torch.float64)
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{name!r} of this learner holds values that are not finite, so it cannot be "
                "saved; adapt with fewer steps or a smaller inner rate."
            )
    metadata = {
        **describe_network(state.model, _FORMAT),
        "names": json.dumps(state.names, ensure_ascii=False),
        "provenance": json.dumps(state.model.provenance, ensure_ascii=False),
    }
    metadata["sha256"] = _digest(metadata, tensors)
    write_atomically(Path(path), safetensors.torch.save(tensors, metadata=metadata))


def read_learner(path: Path) -> LearnerState:
    """Read what `write_learner` wrote; all of it is checked.

    Raises:
        CheckpointError: if the file is missing, broken, changed since it was written, or not a
            learner; the text says what to do.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path, _FORMAT)
    found = _digest({key: text for key, text in metadata.items() if key != "sha256"}, tensors)
    if metadata.get("sha256") != found:
        raise CheckpointError(
            f"{path} was changed after it was written: its content does not match its SHA-256. "
            "Save the learner again."
        )
    model = rebuild_network(path, metadata)
    names = _names(path, metadata)
    try:
        provenance = parse_json(metadata.get("provenance", "{}"))
    except ValueError as error:
        raise CheckpointError(f"The provenance in {path} is not readable JSON: {error}.") from error
    check_provenance(path, provenance)
    describe_origin(path, model, metadata, provenance)
    within = {name[6:]: tensors.pop(name) for name in list(tensors) if name.startswith("model/")}
    fill_network(path, model, within)
    model.eval()
    return LearnerState(
        model,
        _path(path, model, len(names), tensors),
        _trajectory(path, tensors),
        *_support(path, model, len(names), tensors),
        names,
    )


def _task_tensors(model: MetaNetwork, ways: int) -> dict[str, Tensor]:
    """The starting tensors of the task network by name."""
    network, start = model.task_network(ways)
    return dict(zip((name for name, _ in network.named_parameters()), start, strict=True))


def _names(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    try:
        names = parse_json(metadata.get("names", "null"))
    except ValueError:
        names = None
    sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not sound or not 2 <= len(names) <= LARGEST_WAYS:
        raise CheckpointError(
            f"The header of {path} must name 2 to {LARGEST_WAYS} ways; got "
            f"{metadata.get('names')!r}. Save the learner again."
        )
    return tuple(names)


def _path(
    path: Path, model: MetaNetwork, ways: int, tensors: Mapping[str, Tensor]
) -> list[list[Tensor]]:
    try:
        named = _task_tensors(model, ways)
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit its own network: {error}") from error
    steps = _tensor(path, tensors, "trajectory").shape[0] - 1
    if not 0 <= steps <= LARGEST_STEPS:
        raise CheckpointError(
            f"{path} must hold 0 to {LARGEST_STEPS} inner steps; got {steps}. Save the learner "
            "again."
        )
    expected = {f"path/{step}/{name}" for step in range(steps + 1) for name in named}
    expected |= {"features", "labels", "trajectory"}
    if strange := sorted(tensors.keys() - expected):
        raise CheckpointError(
            f"{path} holds {strange[0]!r}, which a learner of {steps} steps does not have."
        )
    states: list[list[Tensor]] = []
    for step in range(steps + 1):
        states.append([])
        for name, start in named.items():
            value = _tensor(path, tensors, key := f"path/{step}/{name}")
            check_tensor(path, key, value, start)
            states[-1].append(value)
    return states


def _trajectory(path: Path, tensors: Mapping[str, Tensor]) -> list[tuple[float, float]]:
    trajectory = _tensor(path, tensors, "trajectory")
    check_tensor(path, "trajectory", trajectory, trajectory.new_empty(len(trajectory), 2).double())
    return [(loss, accuracy) for loss, accuracy in trajectory.tolist()]


def _support(
    path: Path, model: MetaNetwork, ways: int, tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    features, labels = (_tensor(path, tensors, name) for name in ("features", "labels"))
    with torch.no_grad():
        one = model.features(torch.zeros(1, 1, INK_SIZE, INK_SIZE))
    check_tensor(path, "features", features, one.expand(len(features), *one.shape[1:]))
    check_tensor(path, "labels", labels, torch.zeros(len(features), dtype=torch.int64))
    if sorted(set(labels.tolist())) != list(range(ways)):
        raise CheckpointError(
            f"The labels in {path} must be whole numbers in [0, {ways}), each present; got "
            f"{sorted(set(labels.tolist()))}. Save the learner again."
        )
    return features, labels


def _tensor(path: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors or tensors[name].ndim == 0:
        raise CheckpointError(f"{path} has no tensor {name!r}, which a learner needs.")
    return tensors[name]


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
