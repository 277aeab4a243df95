"""Weights on disk: the round trip, every way a file can be wrong, disks that refuse."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from benchmarks.head import record_of, with_cosine_head
from maml import CheckpointError, InnerLoop, MetaTraining, load_pretrained
from maml.checkpoint import (
    BUNDLED,
    BUNDLED_NAMES,
    load_model,
    load_training,
    load_training_iteration,
    read_tensors,
    save_model,
    save_training,
    write_atomically,
)
from maml.config import NetworkSettings
from maml.drawing import strokes_to_image
from maml.model import MetaNetwork
from maml.networks import SketchNet, build_model
from maml.plain import to_plain

STROKES = [np.array([(9, 9), (12, 12)])]
LOOP = InnerLoop(steps=2, evaluation_steps=7, rate=0.3, learned_rates=True)


def network(kind: str = "sketch", seed: int = 0, channels: int = 4) -> MetaNetwork:
    settings = NetworkSettings(kind, channels=channels, ways=3, adaptable=2)  # type: ignore[arg-type]
    loop = LOOP if kind == "sketch" else replace(LOOP, learned_rates=False)
    model = build_model(settings, loop, torch.Generator().manual_seed(seed))
    if isinstance(model, SketchNet):
        model.unknown_limit.fill_(0.37)
        model.temperature_weights.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
    return model


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, network(), {"recipe": "made by a test", "seed": 5})
    return path


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], Any]) -> None:
    """Change a weights file and leave no checksum to tell."""
    tensors, metadata = parts(path)
    change(tensors, metadata)
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    path.with_suffix(".json").unlink(missing_ok=True)


# The round trip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_weights_survive_the_round_trip(tmp_path: Path, kind: str) -> None:
    path, model = tmp_path / "deep" / "folder" / "model.safetensors", network(kind, seed=3)
    save_model(path, model, {"recipe": "r", "note": "äöü 字"})
    for source in (path, str(path)):
        loaded = load_pretrained(source)
        assert type(loaded) is type(model)
        assert loaded.settings == model.settings
        assert loaded.inner == model.inner
        assert not loaded.training
        assert loaded.state_dict().keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
        assert loaded.unknown_threshold == model.unknown_threshold
        assert loaded.provenance["note"] == "äöü 字"
        assert loaded.provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "äöü 字" in path.with_suffix(".json").read_text(encoding="utf-8")


def test_what_half_precision_holds_is_written_in_it(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", network(channels=16)
    save_model(path, model)
    whole = path.stat().st_size
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(tensor.half())
    save_model(path, model)
    assert path.stat().st_size < 0.55 * whole
    loaded = load_pretrained(path).state_dict()
    for name, value in model.state_dict().items():
        assert loaded[name].dtype == value.dtype and torch.equal(loaded[name], value), name
    kinds = {value.dtype for name, value in parts(path)[0].items() if value.ndim < 2}
    assert torch.float16 not in kinds  # There is nothing to gain.


def test_weights_from_before_likeness_answer_as_they_did(weights: Path) -> None:
    """They have three terms of the temperature, seven of the score, and expect nothing."""
    kept: dict[str, Tensor] = {}

    def shorten(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        del tensors["likeness_weights"]
        for name, terms in (("temperature_weights", 3), ("unknown_weights", 7)):
            tensors[name] = kept[name] = torch.arange(1.0, terms + 1) / 10
        settings = json.loads(metadata["network"])
        del settings["branches"], settings["whitened"]
        metadata["network"] = json.dumps(settings)

    rewrite(weights, shorten)
    loaded = load_pretrained(weights)
    assert isinstance(loaded, SketchNet)
    assert torch.equal(
        loaded.temperature_weights, torch.cat([kept["temperature_weights"], torch.zeros(2)])
    )
    assert torch.equal(loaded.unknown_weights, torch.cat([kept["unknown_weights"], torch.zeros(6)]))
    assert not loaded.likeness_weights.any()

    def lengthen(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        tensors["unknown_weights"] = torch.zeros(14)

    rewrite(weights, lengthen)
    with pytest.raises(CheckpointError, match="'unknown_weights'.*\\(13,\\).*\\(14,\\)"):
        load_pretrained(weights)


def test_weights_need_no_record_beside_them(weights: Path) -> None:
    weights.with_suffix(".json").unlink()
    assert load_pretrained(weights).provenance == {}


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_a_network_of_whole_frames_needs_no_record_beside_it(tmp_path: Path, kind: str) -> None:
    path, model = tmp_path / "model.safetensors", network(kind)
    save_model(path, model, {"framing": "frame"})
    path.with_suffix(".json").unlink()
    loaded = load_pretrained(path)
    assert loaded.framing == "frame"
    save_model(path, loaded)  # without a word about it
    load_model(path, model)
    assert model.framing == "frame"
    assert not np.array_equal(strokes_to_image(STROKES), strokes_to_image(STROKES, model.framing))


def test_older_files_name_the_framing_beside_them_or_not_at_all(weights: Path) -> None:
    tensors, header = parts(weights)
    del header["framing"]
    weights.write_bytes(safetensors.torch.save(tensors, header))
    record = weights.with_suffix(".json")
    record.write_text('{"framing": "frame"}')
    assert load_pretrained(weights).framing == "frame"
    record.unlink()
    assert load_pretrained(weights).framing == "fit"


def test_framing_that_nothing_draws_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="framing must be one of fit, frame; got 'crop'"):
        save_model(tmp_path / "model.safetensors", network(), {"framing": "crop"})
    assert list(tmp_path.iterdir()) == []


def test_loading_leaves_global_randomness_alone(weights: Path) -> None:
    state = torch.get_rng_state()
    load_pretrained(weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_bundled_weights_describe_themselves() -> None:
    model = load_pretrained()
    assert model.provenance["recipe"] == "flagship"
    assert model.provenance["framing"] == "fit"
    assert {"seed", "commit", "data", "settings"} <= model.provenance.keys()
    assert BUNDLED.stat().st_size < 10_000_000
    assert isinstance(model, SketchNet)
    assert 0 < model.unknown_threshold < 1


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_the_record_is_of_the_network_beside_it(name: str) -> None:
    model = load_pretrained(name)  # its settings are those of the header
    record = model.provenance
    assert record["settings"] == {
        "network": to_plain(model.settings), "inner": to_plain(model.inner),
    }  # fmt: skip
    assert record["framing"] == model.framing
    assert record["parameters"] == sum(tensor.numel() for tensor in model.parameters())
    assert len(record["trained"]) == model.settings.branches
    assert "last_evaluation_in_training" not in record  # It was of another network.


def test_a_record_tells_a_training_apart_from_what_was_made_of_it() -> None:
    model = network()
    trained = {
        "recipe": "r",
        "settings": {"name": "r"},
        "last_evaluation_in_training": {"tasks": 3},
    }
    model.provenance = {**trained, "seed": 3, "sha256": "of another file"}
    made = with_cosine_head(model, 4.0)
    record = record_of(made, [made])
    assert record["settings"]["network"]["head_scale"] == 4.0
    assert record["settings"]["inner"]["rate"] == 0.25
    assert record["trained"] == [{**trained, "seed": 3}]
    assert not {"last_evaluation_in_training", "sha256"} & record.keys()
    made.provenance = record
    assert record_of(made, [made, made])["trained"] == 2 * record["trained"]


def test_the_weights_of_recipe_live_are_bundled_under_its_name() -> None:
    model = load_pretrained("live")
    assert model.settings.kind == model.provenance["recipe"] == "live"
    data, split = model.provenance["data"], load_pretrained("flagship").provenance["data"]
    assert data["held_out_of_training"] and data["split"] == "alphabets"
    for part in ("training_alphabets", "evaluated_in_training_on"):  # no test alphabet among them
        assert data[part] == split[part]
    assert model.provenance["head"]["chosen_and_calibrated_on"] == data["evaluated_in_training_on"]
    assert 0 < model.unknown_threshold < 1 and model.temperature(5, 1.0) != 1
    assert (BUNDLED.parent / "live.safetensors").stat().st_size < 200_000


def test_missing_bundled_weights_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maml.checkpoint.BUNDLED", tmp_path / "flagship.safetensors")
    with pytest.raises(CheckpointError, match=r"bundled weights are not at .*flagship"):
        load_pretrained()


# Files that are wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("with_record", [True, False])
@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_truncated_file(weights: Path, length: int, with_record: bool) -> None:
    weights.write_bytes(weights.read_bytes()[:length])
    if with_record:
        message = r"was changed or cut short after it was written: its SHA-256 is \w{12}.*Fetch it"
    else:
        weights.with_suffix(".json").unlink()
        message = r"is not a whole safetensors file .* may be cut short\. Fetch it again"
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(weights)


def test_any_flipped_byte_is_noticed(weights: Path) -> None:
    whole = weights.read_bytes()
    for place in (0, 9, 300, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        weights.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="was changed or cut short"):
            load_pretrained(weights)
    weights.write_bytes(whole)
    load_pretrained(weights)


def test_wrong_shape_names_parameter_and_shapes(weights: Path) -> None:
    rewrite(weights, lambda tensors, _: tensors.update(head_start=torch.zeros(255)))
    message = (
        r"Parameter 'head_start' of .*model.safetensors must be torch.float32 \(256,\); "
        r"got torch.float32 \(255,\)"
    )
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(weights)


def test_wrong_dtype_names_parameter_and_dtypes(weights: Path) -> None:
    rewrite(weights, lambda tensors, _: tensors.update(head_start=torch.zeros(256).double()))
    with pytest.raises(CheckpointError, match="'head_start' of .*; got torch.float64"):
        load_pretrained(weights)


def test_missing_parameter(weights: Path) -> None:
    rewrite(weights, lambda tensors, _: tensors.pop("stages.5.scale"))
    with pytest.raises(CheckpointError, match="has no parameter 'stages.5.scale', which this"):
        load_pretrained(weights)


def test_unknown_parameter(weights: Path) -> None:
    rewrite(weights, lambda tensors, _: tensors.update(extra=torch.zeros(2)))
    with pytest.raises(CheckpointError, match="has a parameter 'extra' that this network does not"):
        load_pretrained(weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(weights: Path, value: float) -> None:
    def spoil(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
        tensors["stages.5.shift"][17] = value

    rewrite(weights, spoil)
    with pytest.raises(CheckpointError, match="'stages.5.shift' of .* values that are not finite"):
        load_pretrained(weights)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match="must be 'maml-sketchpad/1'; got None"):
        load_pretrained(path)
    path.write_bytes(safetensors.torch.save({"w": torch.zeros(3)}, {"format": "pt"}))
    with pytest.raises(CheckpointError, match="must be 'maml-sketchpad/1'; got 'pt'"):
        load_pretrained(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_pickles_are_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = tmp_path / "exploded"
    monkeypatch.setenv("BOMB", str(fuse))
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_pretrained(path)
    torch.save({"bomb": Bomb()}, path)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_pretrained(path)
    assert not fuse.exists()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("network", "{", "does not describe a network"),
        ("network", "[]", "NetworkSettings must be a JSON object"),
        (
            "network",
            '{"kind": "resnet"}',
            "must be one of notebook, sketch, live, module; got 'resnet'",
        ),
        ("network", '{"layers": 3}', "NetworkSettings has no setting layers"),
        ("inner", '{"rate": -1}', "inner rate must be a positive number"),
        ("inner", '{"learned_rates": "yes"}', "learned_rates must be True or False"),
        ("inner", None, "'inner'"),
        (
            "framing",
            "crop",
            "framing in the header of .* must be one of fit, frame; .*; got 'crop'",
        ),
    ],
)
def test_headers_that_describe_no_network(
    weights: Path, key: str, text: str | None, message: str
) -> None:
    def spoil(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        if text is None:
            del metadata[key]
        else:
            metadata[key] = text

    rewrite(weights, spoil)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model.json is not readable JSON"),
        ("[1]", "model.json must be a JSON object; got list"),
        ('{"sha256": 5}', "sha256 in .* must be a text; .*; got 5"),
        ('{"sha256": "5"}', "was changed or cut short"),
    ],
)
def test_records_that_are_wrong(weights: Path, text: str, message: str) -> None:
    weights.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(weights)


def test_record_that_is_no_text(weights: Path) -> None:
    weights.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        load_pretrained(weights)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/model.safetensors", "There is no weights file nowhere/model.safetensors"),
        (Path("nowhere"), "There is no weights file nowhere"),
        ("flagships", "'flagships' is neither a file nor a Hub id; ids read 'owner/name'"),
        ("a/b/c", "'a/b/c' is neither a file nor a Hub id"),
        ("", "neither a file nor a Hub id|There is no weights file"),
        ("owner/na me", "Cannot get 'owner/na me' from the Hugging Face Hub"),
        ("../weights", r"Cannot get '\.\./weights' from the Hugging Face Hub"),
    ],
)
def test_sources_that_lead_nowhere(source: str | Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_pretrained(source)
    assert isinstance(caught.value, ValueError)


def test_deeply_nested_texts_are_refused_in_one_line(weights: Path, tmp_path: Path) -> None:
    deep = "[" * 100_000
    header, tensors = read_tensors(weights)
    for key in ("network", "inner"):
        path = tmp_path / f"{key}.safetensors"
        path.write_bytes(safetensors.torch.save(tensors, metadata={**header, key: deep}))
        with pytest.raises(CheckpointError, match="does not describe a network: it is nested too"):
            load_pretrained(path)
    path.with_suffix(".json").write_text(deep)
    with pytest.raises(CheckpointError, match="not readable JSON: it is nested too deeply"):
        load_pretrained(path)


def test_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no weights file"):
        load_pretrained(tmp_path)


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="Cannot get 'owner/name' from the Hugging Face Hub"):
        load_pretrained("owner/name@main")


# The state of a run ------------------------------------------------------------------------------


def save_state(path: Path, **changes: Any) -> None:
    generator = torch.Generator().manual_seed(9)
    values: dict[str, Any] = {
        "model": network(),
        "moments": {
            "head_start/exp_avg": torch.arange(256.0),
            "head_start/step": torch.tensor(3.0),
        },
        "generator_state": generator.get_state(),
        "iteration": 12,
        "settings": MetaTraining(),
    }
    save_training(path, **{**values, **changes})


def test_state_of_a_run_survives_the_round_trip(tmp_path: Path) -> None:
    path, model = tmp_path / "state.safetensors", network(seed=8)
    save_state(path)
    state = load_training(path, model, MetaTraining())
    for name, value in network().state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert state.iteration == load_training_iteration(path) == 12
    assert torch.equal(state.moments["head_start/exp_avg"], torch.arange(256.0))
    assert state.moments["head_start/step"] == 3
    generator = torch.Generator()
    generator.set_state(state.generator_state)
    assert generator.initial_seed() == 9


def test_broken_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"

    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            load_training(path, network(), MetaTraining())

    save_state(path, settings=MetaTraining(meta_batch=5))
    refused("belongs to a run with other settings; resume with the settings")
    save_state(path, model=network(channels=6))
    refused(r"Parameter 'log_rates|Parameter 'stages")
    save_state(path, generator_state=torch.zeros(5, dtype=torch.uint8))
    refused("does not hold the state of a random generator")
    save_state(path, generator_state=torch.zeros(5))
    refused("does not hold the state of a random generator")
    save_state(path, iteration=-3)
    refused("header gives '-3' as steps taken")
    save_state(path)
    path.write_bytes(path.read_bytes()[:-5])
    refused("not a whole safetensors file")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_training_iteration(path)
    save_model(path, network(), {})
    refused("is not the state of a run: its header does not hold its settings")
    with pytest.raises(CheckpointError, match="is not the state of a run: its header gives ''"):
        load_training_iteration(path)


def test_older_files_still_open(tmp_path: Path) -> None:
    """Names of settings as they once were, settings that did not exist, one without effect."""
    path = tmp_path / "model.safetensors"
    save_model(path, network(), {})

    def three_looks(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        plain = json.loads(metadata["network"])
        del plain["test_time_views"]
        del plain["head"], plain["head_scale"]
        metadata["network"] = json.dumps({**plain, "looks": 3})

    rewrite(path, three_looks)
    assert load_pretrained(path).settings.test_time_views == 3
    assert load_pretrained(path).settings.head == "linear"

    def learned_rates(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata["inner"] = json.dumps({**json.loads(metadata["inner"]), "learned_rates": True})

    save_model(path, network("notebook"), {})
    rewrite(path, learned_rates)
    assert not load_pretrained(path).inner.learned_rates

    def fewer_settings(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        plain = json.loads(metadata["settings"])
        del plain["transductive"]
        metadata["settings"] = json.dumps(plain)

    save_state(path)
    rewrite(path, fewer_settings)
    assert load_training(path, network(), MetaTraining()).iteration == load_training_iteration(path)


# Disks -------------------------------------------------------------------------------------------


def test_files_are_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_is_replaced_not_overwritten(tmp_path: Path) -> None:
    """Who has opened the old file goes on reading the old content."""
    path = tmp_path / "file"
    write_atomically(path, b"old content")
    with path.open("rb") as reader:
        assert reader.read(3) == b"old"
        write_atomically(path, b"new")
        assert reader.read() == b" content"
    assert path.read_bytes() == b"new"


SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from maml.checkpoint import save_model, write_atomically
from maml.config import InnerLoop, NetworkSettings
from maml.networks import build_model

folder = Path(sys.argv[1])
model = build_model(NetworkSettings("notebook", 4, 3), InnerLoop(), torch.Generator())
before = {file.name: file.read_bytes() for file in folder.iterdir()}
# From here on no file may grow past the limit, as on a disk that is full.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    try:
        save_model(folder / "model.safetensors", model, {"seed": 6, "padding": "x" * 40_000})
    except OSError as error:
        print(error)
    else:
        print("written")
    print({file.name: file.read_bytes() for file in folder.iterdir()} == before)
"""


@pytest.mark.process
def test_full_disk_leaves_the_old_files_whole(tmp_path: Path) -> None:
    """Whether the weights or only their record no longer fit."""
    path = tmp_path / "model.safetensors"
    save_model(path, network(), {"seed": 5})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    child = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(tmp_path), "2000", "20000"],
        capture_output=True,
        text=True,
        check=True,
    )
    weights, untouched, record, untouched_again = child.stdout.splitlines()
    assert f"Cannot write {path}: File too large. Free space" in weights
    assert f"Cannot write {path.with_suffix('.json')}: File too large. Free space" in record
    assert untouched == untouched_again == "True"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert load_pretrained(path).provenance["seed"] == 5


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot write .*file/model.safetensors: .*choose another"):
        save_model(tmp_path / "file" / "model.safetensors", network(), {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_read_only_folder(weights: Path) -> None:
    before = weights.read_bytes()
    weights.parent.chmod(0o555)
    try:
        with pytest.raises(OSError, match="Cannot write .*Permission denied"):
            save_model(weights, network(seed=2), {})
    finally:
        weights.parent.chmod(0o755)
    assert weights.read_bytes() == before


@pytest.mark.process
def test_disk_that_fills_up(
    small_disk: Callable[[str], Path],
) -> None:
    """A real disk of 256 kB, all but full."""
    disk = small_disk("256k")
    path = disk / "model.safetensors"
    save_model(path, network("notebook"), {"seed": 5})
    before = {file.name: file.read_bytes() for file in disk.iterdir()}
    with pytest.raises(OSError, match="Cannot write .*: No space left on device. Free space"):
        save_model(path, network(channels=8), {})
    assert {file.name: file.read_bytes() for file in disk.iterdir()} == before
    assert load_pretrained(path).provenance["seed"] == 5


def test_interrupted_write_leaves_nothing_behind(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in weights.parent.iterdir()}

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(weights, network(seed=2), {})
    assert {file.name: file.read_bytes() for file in weights.parent.iterdir()} == before


def test_content_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a writer that is killed meanwhile leaves a name that the next one recognises."""
    path = tmp_path / "file"
    done: list[tuple[str, int]] = []
    synchronise, replace = os.fsync, os.replace

    def fsync(number: int) -> None:
        done.append(("synchronised", os.fstat(number).st_size))
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".tmp-file-")
        synchronise(number)

    def replacing(source: str, target: Path) -> None:
        done.append(("replaced", os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replacing)
    write_atomically(path, b"content")
    assert done == [("synchronised", 7), ("replaced", 7)]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    """By the next write of the same file, unless it is so young that it may be at work."""
    names = ("old", "young", "other")
    old, young, other = (
        tmp_path / f".tmp-{target}-{name}"
        for name, target in zip(names, ("file", "file", "file2"), strict=True)
    )
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 120,) * 2)
    write_atomically(tmp_path / "file", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([other, young, tmp_path / "file"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"framing": "crop"}, "framing in .* must be one of fit, frame; .*; got 'crop'"),
        ({"framing": 3}, "framing in .* must be a text; .*; got 3"),
        ({"data": ["alphabets"]}, r"data in .* must be a JSON object; .*; got \['alphabets'\]"),
        ({"data": {"split": 1}}, "data.split in .* must be a text; .*; got 1"),
        ({"settings": "notebook"}, "settings in .*; got 'notebook'"),
        ({"settings": {"training": []}}, r"settings.training in .*; got \[\]"),
        ({"sha256": 5}, "sha256 in .*; got 5"),
    ],
)
def test_a_record_mended_by_hand_the_wrong_way_is_refused(
    weights: Path, changes: dict[str, Any], message: str
) -> None:
    path = weights.with_suffix(".json")
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, **changes}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(weights)


def test_record_is_plain_json(weights: Path) -> None:
    record = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["recipe"] == "made by a test"
    assert record["seed"] == 5
