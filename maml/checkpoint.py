"""Weights with their description and provenance: local, bundled or from the Hub.

A weights file is `NAME.safetensors` with `NAME.json` beside it.  The header of the first describes
the network (kind, sizes, inner loop) and the framing of its ink; the second holds its provenance
(recipe, seed, commit, data split, measured accuracy) and the SHA-256 of the first.  Nothing is
unpickled.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maml.config import InnerLoop, MetaTraining, NetworkSettings
from maml.drawing import FRAMINGS, Framing
from maml.hub import fetch_weights
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.plain import from_plain, parse_json, to_plain

_INSTALLED = Path(__file__).resolve().parent / "weights"
WEIGHTS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "weights"
"""The folder of the bundled weights: inside an installed package, beside the package in a checkout.
"""
BUNDLED = WEIGHTS / "flagship.safetensors"
"""The weights that `load_pretrained()` loads."""
BUNDLED_NAMES = ("flagship", "live")
"""Names of bundled weights, each that of the recipe that made them."""

_FORMAT = "maml-sketchpad/1"
_LONGEST_WRITE = 60.0
"""Seconds after which a temporary file counts as abandoned."""


class CheckpointError(ValueError):
    """A file that cannot be used; the text says what is wrong and how to fix it."""


def save_model(
    path: str | Path, model: MetaNetwork, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write weights and provenance atomically.

    Args:
        path: of the `.safetensors`; the `.json` goes beside it.
        model: the network.
        provenance: how it was made; plain JSON values.  None: nothing is known.  A "framing" in it
            is that of the file; else it is the model's.

    Raises:
        ValueError: if that framing is not one of `maml.drawing.FRAMINGS`.
        OSError: if the files cannot be written; existing files stay intact.
    """
    path = Path(path)
    data, text = pack_model(model, provenance or {})
    # Together: weights with another file's provenance beside them would be refused.
    _write_together({path: data, path.with_suffix(".json"): text})


def pack_model(model: MetaNetwork, provenance: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The contents of the two files that `save_model` writes: `.safetensors` and `.json`."""
    tensors = {
        name: compact(value.detach().cpu().clone(memory_format=torch.contiguous_format))
        for name, value in model.state_dict().items()  # Copies: a module may share its weights.
    }
    framing = provenance.get("framing", model.framing)
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {', '.join(FRAMINGS)}; got {framing!r}.")
    header = {**describe_network(model), "framing": framing}
    data = safetensors.torch.save(tensors, metadata=header)
    record = {**provenance, "sha256": hashlib.sha256(data).hexdigest()}
    return data, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def compact(tensor: Tensor) -> Tensor:
    """A kernel or matrix in half precision, if that holds its values exactly; else as it is."""
    if tensor.dtype != torch.float32 or tensor.ndim < 2:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def load_pretrained(
    source: str | Path | None = None, *, device: str | torch.device = "cpu"
) -> MetaNetwork:
    """Load pretrained weights, ready to be adapted.

    Args:
        source: None for the bundled weights "flagship", the name of bundled weights ("flagship",
            "live"), a path of a `.safetensors` file, or a Hugging Face Hub id `owner/name` or
            `owner/name@revision` of a repository as `maml.hub` describes it.
        device: where to put them.

    Returns:
        The network in evaluation mode; its `provenance` is the content of the `.json`.

    Raises:
        CheckpointError: if the file is missing, truncated, changed since it was written, or does
            not fit; the text names the parameter, the expected and the found shape.
    """
    path = locate_weights(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Cannot read weights from {path}: {error.strerror}.") from error
    provenance = _provenance(path.with_suffix(".json"), data)
    metadata, tensors = read_tensors(path)
    model = rebuild_network(path, metadata)
    fill_network(path, model, tensors)
    describe_origin(path, model, metadata, provenance)
    model.eval()
    return model.to(device)


def load_model(path: str | Path, model: MetaNetwork) -> None:
    """Fill a network that the caller made, for instance with `maml.from_module`, from a file.

    Args:
        path: of the `.safetensors` that `save_model` wrote.
        model: a network of the same parameters, on any device; it takes the file's `framing` and
            `provenance`.

    Raises:
        CheckpointError: as `load_pretrained`.
    """
    path = locate_weights(Path(path))
    provenance = _provenance(path.with_suffix(".json"), path.read_bytes())
    metadata, tensors = read_tensors(path)
    fill_network(path, model, tensors)
    describe_origin(path, model, metadata, provenance)


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The state of a run besides its model: optimiser moments, generator, steps taken."""

    moments: dict[str, Tensor]
    generator_state: Tensor
    iteration: int


def save_training(
    path: Path,
    model: MetaNetwork,
    moments: Mapping[str, Tensor],
    generator_state: Tensor,
    iteration: int,
    settings: MetaTraining,
) -> None:
    """Write the state of a run atomically, one safetensors file."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"moment/{name}": value for name, value in moments.items()}
    tensors["generator"] = generator_state
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {
        **describe_network(model),
        "iteration": str(iteration),
        "settings": json.dumps(to_plain(settings)),
    }
    write_atomically(Path(path), safetensors.torch.save(tensors, metadata=metadata))


def load_training(path: Path, model: MetaNetwork, settings: MetaTraining) -> TrainingState:
    """Load the state of a run: fill `model` and return the rest.

    Raises:
        CheckpointError: if the file is broken, or was made with other settings.
    """
    metadata, tensors = read_tensors(path)
    if _training_settings(path, metadata, settings) != settings:
        raise CheckpointError(
            f"{path} belongs to a run with other settings; resume with the settings it was started "
            "with, or choose another folder."
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "moment": {}, "generator": {}}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        if part not in parts:
            raise CheckpointError(f"{path} is not the state of a run: it holds {key!r}.")
        parts[part][name] = value
    fill_network(path, model, parts["model"])
    state = parts["generator"].get("")
    if state is None or not _is_generator_state(state):
        raise CheckpointError(f"{path} does not hold the state of a random generator.")
    return TrainingState(parts["moment"], state, _iteration(path, metadata))


def load_training_iteration(path: Path) -> int:
    """How many steps the run behind a training state had taken.

    Raises:
        CheckpointError: if the file is broken.
    """
    return _iteration(path, read_tensors(path)[0])


def load_training_settings(path: Path) -> tuple[NetworkSettings, MetaTraining, int]:
    """The network, the training and the seed of the run behind a training state.

    Raises:
        CheckpointError: if the file is broken.
    """
    metadata, tensors = read_tensors(path)
    network = rebuild_network(path, metadata).settings
    state = tensors.get("generator")
    if state is None or not _is_generator_state(state):
        raise CheckpointError(f"{path} does not hold the state of a random generator.")
    generator = torch.Generator()
    generator.set_state(state)
    return network, _training_settings(path, metadata), generator.initial_seed()


def _training_settings(
    path: Path, metadata: Mapping[str, str], expected: MetaTraining | None = None
) -> MetaTraining:
    try:
        plain = parse_json(metadata["settings"])
        if expected is not None:  # Older states do not name the engine.
            plain["inner"].setdefault("engine", expected.inner.engine)
        return from_plain(MetaTraining, plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not the state of a run: its header does not hold its settings ({error})."
        ) from error


def _iteration(path: Path, metadata: Mapping[str, str]) -> int:
    iteration = metadata.get("iteration", "")
    if not iteration.isdecimal():
        raise CheckpointError(
            f"{path} is not the state of a run: its header gives {iteration!r} as steps taken."
        )
    return int(iteration)


def _is_generator_state(state: Tensor) -> bool:
    try:
        torch.Generator().set_state(state)
    except (RuntimeError, TypeError):
        return False
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment it holds either all of the old or all of the new.

    Raises:
        OSError: if it cannot be written; the text names the file.
    """
    _write_together({Path(path): data})


def _write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files of one folder; none is replaced before all of them are on disk."""
    temporary: dict[Path, str] = {}
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".tmp-{path.name}-"
            _remove_left_over(path.parent, prefix)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, delete=False) as file:
                temporary[path] = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary[path], 0o644)
        for path in contents:
            os.replace(temporary.pop(path), path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {path}: {error.strerror}. Free space or choose another folder",
        ) from error
    finally:
        for left_over in temporary.values():
            with contextlib.suppress(OSError):
                os.unlink(left_over)


def _remove_left_over(folder: Path, prefix: str) -> None:
    """Delete temporary files of killed writers; live ones are newer."""
    for path in folder.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _LONGEST_WRITE:
                path.unlink()


def describe_network(model: MetaNetwork, file_format: str = _FORMAT) -> dict[str, str]:
    """The header from which `rebuild_network` makes the network again."""
    return {
        "format": file_format,
        "network": json.dumps(to_plain(model.settings)),
        "inner": json.dumps(to_plain(model.inner)),
        "framing": model.framing,
    }


def locate_weights(source: str | Path | None) -> Path:
    """The `.safetensors` file of weights; those of the Hub are fetched first.

    Args:
        source: as for `load_pretrained`.

    Returns:
        Its path.

    Raises:
        CheckpointError: if there is none, or they cannot be fetched.
    """
    if source is None or source in BUNDLED_NAMES:
        bundled = BUNDLED if source is None else WEIGHTS / f"{source}.safetensors"
        if not bundled.exists():
            raise CheckpointError(
                f"The bundled weights are not at {bundled}; install the package or clone the "
                "repository again, or name a file: "
                "load_pretrained('runs/flagship/model.safetensors')."
            )
        return bundled
    path = Path(source)
    if path.exists() or path.suffix == ".safetensors" or isinstance(source, Path):
        if not path.is_file():
            raise CheckpointError(f"There is no weights file {path}.")
        return path
    name, _, revision = str(source).partition("@")
    if name.count("/") != 1:
        raise CheckpointError(
            f"{source!r} is neither a file nor a Hub id; ids read 'owner/name' or "
            f"'owner/name@revision', and bundled are {' and '.join(BUNDLED_NAMES)}."
        )
    try:
        return fetch_weights(name, revision or None)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _provenance(path: Path, data: bytes) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}.") from error
    check_provenance(path, record)
    expected, found = record.get("sha256"), hashlib.sha256(data).hexdigest()
    if expected is not None and expected != found:
        raise CheckpointError(
            f"{path.with_suffix('.safetensors')} was changed or cut short after it was written: "
            f"its SHA-256 is {found[:12]}..., {path.name} says {str(expected)[:12]}.... Fetch it "
            "again."
        )
    return record


def check_provenance(path: Path, record: Any) -> None:
    """Check the entries that are used later, where an error would be harder to understand.

    Raises:
        CheckpointError: names the entry, and says what it should be.
    """
    if not isinstance(record, dict):
        raise CheckpointError(
            f"The provenance in {path} must be a JSON object; got {type(record).__name__}."
        )
    expected: dict[str, tuple[type, str]] = {
        "sha256": (str, "a text"),
        "data": (dict, "a JSON object"),
        "data.split": (str, "a text"),
        "settings": (dict, "a JSON object"),
        "settings.training": (dict, "a JSON object"),
        "framing": (str, "a text"),
    }
    for name, (kind, description) in expected.items():
        outer, _, inner = name.partition(".")
        entry = record.get(outer)
        if inner and entry is not None:
            entry = entry.get(inner)
        if entry is not None and not isinstance(entry, kind):
            _refuse_entry(path, name, entry, description)
    if (framing := record.get("framing", "fit")) not in FRAMINGS:
        _refuse_entry(path, "framing", framing, f"one of {', '.join(FRAMINGS)}")


def _refuse_entry(path: Path, name: str, entry: Any, expected: str) -> NoReturn:
    raise CheckpointError(
        f"{name} in {path} must be {expected}; correct that entry, or remove the file to use the "
        f"weights without it; got {entry!r}."
    )


def read_tensors(
    path: Path, file_format: str = _FORMAT
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file.

    Raises:
        CheckpointError: if it is missing, broken or of another format.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); it may be cut short. Fetch it "
            "again."
        ) from error
    if metadata.get("format") != file_format:
        raise CheckpointError(
            f"{path} was not written by maml, or is another kind of file: its format must be "
            f"{file_format!r}; got {metadata.get('format')!r}."
        )
    return metadata, tensors


def rebuild_network(path: Path, metadata: Mapping[str, str]) -> MetaNetwork:
    """The network that a header describes, with fresh parameters.

    Raises:
        CheckpointError: if the header describes none.
    """
    try:
        settings = from_plain(NetworkSettings, parse_json(metadata["network"]))
        inner = from_plain(InnerLoop, parse_json(metadata["inner"]))
        if settings.kind == "notebook":  # Older files may ask for learned rates, in vain.
            inner = replace(inner, learned_rates=False)
        return build_model(settings, inner, torch.Generator())
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"The header of {path} does not describe a network: {error}"
        ) from error


def describe_origin(
    path: Path, model: MetaNetwork, metadata: Mapping[str, str], provenance: dict[str, Any]
) -> None:
    """Give a network the framing and the provenance of its file.

    The header names the framing; older files name it in their provenance, or mean "fit".

    Raises:
        CheckpointError: if it is not one of `maml.drawing.FRAMINGS`.
    """
    framing = metadata.get("framing", provenance.get("framing", "fit"))
    if framing not in FRAMINGS:
        raise CheckpointError(
            f"The framing in the header of {path} must be one of {', '.join(FRAMINGS)}; fetch the "
            f"file again; got {framing!r}."
        )
    model.framing = cast(Framing, framing)
    model.provenance = provenance


def fill_network(path: Path, model: MetaNetwork, tensors: Mapping[str, Tensor]) -> None:
    """Load parameters and buffers from a file's tensors; half precision becomes single.

    Raises:
        CheckpointError: if one is missing, unknown, of another shape or dtype, or not finite.
    """
    expected = model.state_dict()
    tensors = model.of_older_file(tensors)
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise CheckpointError(f"{path} has no parameter {name!r}, which this network needs.")
        if name not in expected:
            raise CheckpointError(
                f"{path} has a parameter {name!r} that this network does not have."
            )
    tensors = {
        name: value.float() if value.dtype == torch.float16 else value
        for name, value in tensors.items()
    }
    for name, value in tensors.items():
        check_tensor(path, name, value, expected[name])
    model.load_state_dict(tensors)


def check_tensor(path: Path, name: str, found: Tensor, expected: Tensor) -> None:
    """Check the shape and dtype of a tensor, and that its values are finite.

    Raises:
        CheckpointError: names the tensor, the expected and the found shape.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        raise CheckpointError(
            f"Parameter {name!r} of {path} must be {_kind(expected)}; got {_kind(found)}."
        )
    if not bool(torch.isfinite(found).all()):
        raise CheckpointError(f"Parameter {name!r} of {path} holds values that are not finite.")


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
