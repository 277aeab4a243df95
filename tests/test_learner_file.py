"""Saved learners: a loaded one answers as the saved one did; a changed file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from maml import (
    AdaptedLearner,
    CharacterSet,
    CheckpointError,
    EpisodeShape,
    SupportSet,
    adapt,
    load_pretrained,
)
from maml.checkpoint import save_model
from maml.config import InnerLoop, NetworkSettings
from maml.data.episodes import EpisodeSampler
from maml.learner_file import _digest
from maml.networks import build_model

NAMES = ("Sonne ☀", "moon", "star")
Parts = tuple[dict[str, str], dict[str, Tensor]]


def learner(data: CharacterSet, kind: str = "sketch", steps: int = 3) -> AdaptedLearner:
    settings = NetworkSettings(kind, channels=6, ways=3, adaptable=2)  # type: ignore[arg-type]
    inner = InnerLoop(steps=2, rate=0.1 if kind == "notebook" else 3.0)
    model = build_model(settings, inner, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "temperature_weights", "unknown_limit")):
                buffer.uniform_(0.1, 0.3, generator=torch.Generator().manual_seed(1))
    model.framing, model.provenance = "frame", {"seed": 3}
    return adapt(model, support(data), steps)


def support(data: CharacterSet) -> SupportSet:
    shape = EpisodeShape(3, 2, 1)
    episode = EpisodeSampler(data, torch.Generator().manual_seed(2)).sample(shape)
    return SupportSet(episode.support_images[1:], episode.support_labels[1:], NAMES)


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_loaded_learner_answers_bit_for_bit(
    kind: str, small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    made = learner(small_alphabets, kind)
    queries = torch.from_numpy(small_alphabets.images[::4, 0]).float() / 255
    expected = made.predict(queries)
    made.save(tmp_path / "symbols.safetensors")
    loaded = AdaptedLearner.load(str(tmp_path / "symbols.safetensors"))
    answer = loaded.predict(queries)
    assert torch.equal(answer.probabilities, expected.probabilities)
    assert torch.equal(answer.unknown, expected.unknown)
    assert answer.winners == expected.winners
    assert answer.names == NAMES
    assert torch.equal(loaded.predict_path(queries), made.predict_path(queries))
    assert loaded.trajectory == made.trajectory
    assert loaded.model.framing == "frame"
    before = loaded.at_step(1).predict(queries[:2])
    assert torch.equal(before.probabilities, made.at_step(1).predict(queries[:2]).probabilities)


def test_a_learner_at_an_earlier_step_is_saved_as_it_is(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    made = learner(small_alphabets, steps=4).at_step(1)
    queries = torch.from_numpy(small_alphabets.images[::4, 0]).float() / 255
    made.save(tmp_path / "symbols.safetensors")
    loaded = AdaptedLearner.load(tmp_path / "symbols.safetensors")
    assert len(loaded.predict_path(queries)) == 2
    assert torch.equal(loaded.predict_path(queries), made.predict_path(queries))


def test_shipped_weights_make_small_files(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    made = adapt(load_pretrained(), support(small_alphabets))
    made.save(tmp_path / "a.safetensors")
    loaded = AdaptedLearner.load(tmp_path / "a.safetensors")
    ink = torch.from_numpy(small_alphabets.images[3, :2]).float() / 255
    assert torch.equal(loaded.predict(ink).unknown, made.predict(ink).unknown)
    assert loaded.predict(ink).winners == made.predict(ink).winners
    assert loaded.model.provenance == made.model.provenance
    assert (tmp_path / "a.safetensors").stat().st_size < 8_000_000


def test_learner_that_diverged_is_not_saved(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    made = learner(small_alphabets)
    made._tasks.path[-1][0].fill_(float("inf"))
    with pytest.raises(ValueError, match="values that are not finite, so it cannot be saved"):
        made.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_and_learners_are_told_apart(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    made = learner(small_alphabets)
    save_model(tmp_path / "weights.safetensors", made.model, {})
    with pytest.raises(CheckpointError, match="another kind of file: its format must be"):
        AdaptedLearner.load(tmp_path / "weights.safetensors")
    made.save(tmp_path / "learner.safetensors")
    with pytest.raises(CheckpointError, match="another kind of file: its format must be"):
        load_pretrained(tmp_path / "learner.safetensors")


def test_damaged_files(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        AdaptedLearner.load(path)
    learner(small_alphabets).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        AdaptedLearner.load(path)
    changed = bytearray(whole)
    changed[-3] ^= 1
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="changed after it was written.*Save the learner"):
        AdaptedLearner.load(path)
    path.write_bytes(whole.replace(b"moon", b"noon"))
    with pytest.raises(CheckpointError, match="changed after it was written"):
        AdaptedLearner.load(path)


def _changed(saved: AdaptedLearner, folder: Path, change: Callable[[Parts], object]) -> Path:
    """A learner's file as another program may have written it: whole, with a checksum that fits."""
    path = folder / "a.safetensors"
    saved.save(path)
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["sha256"]
    change((metadata, tensors))
    metadata["sha256"] = _digest(metadata, tensors)
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def _drop(key: str) -> Callable[[Parts], object]:
    return lambda parts: parts[1].pop(key)


def _put(key: str, value: Tensor) -> Callable[[Parts], object]:
    return lambda parts: parts[1].update({key: value})


def _say(key: str, value: object) -> Callable[[Parts], object]:
    return lambda parts: parts[0].update({key: json.dumps(value)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("features"), "has no tensor 'features'"),
        (_drop("trajectory"), "has no tensor 'trajectory'"),
        (_drop("path/2/head.bias"), "has no tensor 'path/2/head.bias'"),
        (_drop("model/head_start"), "has no parameter 'head_start'"),
        (_put("path/4/head.bias", torch.zeros(3)), "'path/4/head.bias', which a learner of 3"),
        (_put("path/1/head.bias", torch.zeros(4)), r"'path/1/head.bias' .* \(4,\)"),
        (_put("path/1/head.bias", torch.full((3,), torch.inf)), "not finite"),
        (_put("features", torch.zeros(5, 7)), r"'features' .* \(5, 7\)"),
        (_put("labels", torch.zeros(5, dtype=torch.int64)), r"\[0, 3\), each present; got \[0\]"),
        (_put("labels", torch.tensor([0, 1, 2, 3, 1])), r"each present; got \[0, 1, 2, 3\]"),
        (_put("labels", torch.tensor([0, 1, 2])), r"'labels' .* \(3,\)"),
        (_put("labels", torch.zeros(5)), "'labels' .* got torch.float32"),
        (_put("trajectory", torch.zeros(4, 3).double()), r"'trajectory' .* \(4, 3\)"),
        (_put("trajectory", torch.zeros(0, 2).double()), "must hold 0 to 100 inner steps; got -1"),
        (_say("names", ["one"]), "must name 2 to 20 ways; got"),
        (_say("names", [1, 2, 3]), "must name 2 to 20 ways; got"),
        (_say("network", {"kind": "magic"}), "does not describe a network"),
        (_say("provenance", {"framing": "crop"}), "framing in .*; got 'crop'"),
        (_say("provenance", 5), "must be a JSON object"),
    ],
)  # fmt: skip
def test_inconsistent_files(
    change: Callable[[Parts], object], message: str, small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    path = _changed(learner(small_alphabets), tmp_path, change)
    with pytest.raises(CheckpointError, match=message):
        AdaptedLearner.load(path)


def test_older_learners_name_the_framing_in_their_provenance(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    def as_before(parts: Parts) -> None:
        del parts[0]["framing"]
        _say("provenance", {"framing": "frame"})(parts)

    path = _changed(learner(small_alphabets), tmp_path, as_before)
    assert AdaptedLearner.load(path).model.framing == "frame"
