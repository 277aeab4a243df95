"""The command line: what it prints, and that bad input gets one line and exit status 2."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import maml.__main__ as program
from maml import InnerLoop
from maml.bench_training import StepTiming
from maml.calibrate import calibrate
from maml.checkpoint import save_model
from maml.config import EpisodeShape, Framing, NetworkSettings
from maml.data.characters import CharacterSet
from maml.data.synthetic import generate_alphabets
from maml.data.words import CHOOSE_WORDS, TEST_WORDS
from maml.networks import build_model
from maml.recipes import RECIPES

# Drawing them takes longer than most of what is tested with them.
small_alphabets_of = functools.cache(functools.partial(generate_alphabets, 4, 6, 10))


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "load_generated", small_alphabets_of)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "sketch.safetensors"
    loop = InnerLoop(steps=2, evaluation_steps=2, rate=3.0)
    model = build_model(NetworkSettings(channels=4), loop, torch.Generator().manual_seed(0))
    save_model(path, model, {"framing": "fit", "data": {"split": "alphabets"}})
    return str(path)


def shape(path: Path, kind: str, shift: int = 0, **save: Any) -> Path:
    """A picture of a cross, a ring or a bar."""
    picture = Image.new("RGB", (120, 100), "white")
    pen = ImageDraw.Draw(picture)
    x, y = 30 + shift, 20 + shift
    if kind == "cross":
        pen.line((x, y, x + 50, y + 50), "black", 5)
        pen.line((x + 50, y, x, y + 50), "black", 5)
    elif kind == "ring":
        pen.ellipse((x, y, x + 50, y + 50), outline="black", width=5)
    else:
        pen.line((x + 25, y, x + 25, y + 50), "black", 5)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **save)
    return path


@pytest.fixture
def symbols(tmp_path: Path) -> Path:
    folder = tmp_path / "symbols"
    for kind in ("bar", "cross", "ring"):
        shape(folder / kind / "one.png", kind)
        shape(folder / kind / "two.JPG", kind, 7)
    (folder / "cross" / "notes.txt").write_text("not a picture")
    (folder / "readme.md").write_text("not a folder")
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an ill-formed command."""
    try:
        status = program.main(arguments)
    except SystemExit as ended:
        status = ended.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.out == ""
    assert "Traceback" not in printed.err
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("maml: ")
    return lines[0]


# train -------------------------------------------------------------------------------------------


def test_training_by_the_notebook_prints_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = RECIPES["notebook"]
    training = dataclasses.replace(notebook.training, evaluation_tasks=4, epoch=6)
    monkeypatch.setitem(RECIPES, "notebook", dataclasses.replace(notebook, training=training))
    out = tmp_path / "notebook"
    arguments = ["train", "--recipe", "notebook", "--data", "synthetic", "--iterations", "6"]
    assert program.main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    number = r"\d+\.\d\d"
    train = rf"\[Epoch {number}\] Train Loss: {number} \| Acc: {number} \| Time: {number}"
    assert len(lines) == 3
    assert re.fullmatch(train, lines[0])
    assert re.fullmatch(train, lines[1])
    assert re.fullmatch(rf"\[Epoch 1\.00\] Test Loss: {number} \| Acc: {number}", lines[2])
    assert lines[0].startswith("[Epoch 0.00]")
    assert lines[1].startswith("[Epoch 0.67]")  # The fifth of six iterations.

    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["mode"] for record in records] == ["train"] * 6 + ["test"]
    assert all({"epoch", "loss", "acc", "mode", "time"} <= record.keys() for record in records)
    assert f"Loss: {records[4]['loss']:.2f} | Acc: {records[4]['acc']:.2f} |" in lines[1]
    assert f"Test Loss: {records[6]['loss']:.2f} | Acc: {records[6]['acc']:.2f}" in lines[2]
    with Image.open(out / "maml-accs.png") as figure:
        assert figure.format == "PNG"
        assert figure.width > 400
    told = json.loads((out / "model.json").read_text())
    assert told["framing"] == "frame"
    assert told["data"]["name"] == "generated alphabets"
    # The finished weights serve at once, transductively as they were trained, and alone.
    base = ["evaluate", "--weights", str(out / "model.safetensors"), "--data", "synthetic"]
    assert program.main([*base, "--tasks", "3", "--queries", "3", "--transductive"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(rf"5-way 3-shot: {number} \+- {number} % \(3 tasks, transductive\)\n", line)
    assert "holds a run already; go on with --resume" in refused(
        capsys, *arguments, "--out", str(out)
    )
    assert json.loads((out / "model.json").read_text()) == told


def test_training_prints_its_last_figure_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = RECIPES["live"]
    training = dataclasses.replace(
        live.training,
        shapes=live.training.shapes[:1],
        evaluation_tasks=2,
        further_evaluations=(EpisodeShape(3, 1, 2),),
        final_evaluation_tasks=3,
    )
    small = dataclasses.replace(live.network, channels=4)
    monkeypatch.setitem(
        RECIPES, "live", dataclasses.replace(live, training=training, network=small)
    )
    arguments = ["train", "--data", "synthetic", "--iterations", "2", "--seed", "3", "--json"]
    arguments += ["--threads", "3", "--hold-out", "1"]
    monkeypatch.setattr("maml.train.calibrate", functools.partial(calibrate, rounds=1))
    assert program.main([*arguments, "--out", str(tmp_path / "run")]) == 0
    last = json.loads(capsys.readouterr().out)
    assert last["iteration"] == 2 and last["tasks"] == 3
    assert [other["protocol"] for other in last["others"]] == ["3-way 1-shot"]
    assert 0 <= last["accuracy"] <= 1
    told = json.loads((tmp_path / "run" / "model.json").read_text())
    assert told["seed"] == 3
    assert told["made_with"]["threads"] == 3
    assert told["framing"] == "fit"
    held_out = set(told["data"]["evaluated_in_training_on"])
    assert told["data"]["held_out_of_training"] and len(held_out) == 1
    assert not held_out & set(told["data"]["training_alphabets"])
    trained = program.load_pretrained(tmp_path / "run" / "model.safetensors")
    assert trained.temperature(5, 1.0) != 1  # calibrated on them


def test_generated_alphabets_are_framed_as_the_recipe_wants() -> None:
    def characters(*words: str, framing: Framing = "fit") -> CharacterSet:
        return program._characters(program.parse(["data", *words]), framing)

    fitted = characters("--source", "generated")
    whole = characters("--source", "generated", framing="frame")
    assert not np.array_equal(fitted.images, whole.images)
    # Older ways to say it are still understood.
    for word in ("generated", "synthetic"):
        assert np.array_equal(characters("--data", word).images, fitted.images)


# evaluate ----------------------------------------------------------------------------------------


def test_evaluating_prints_figures(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["evaluate", "--weights", weights, "--data", "synthetic", "--tasks", "3"]
    assert program.main([*base, "--ways", "3", "--shots", "2", "--queries", "4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["protocol"] == "3-way 2-shot"
    assert record["tasks"] == 3
    assert len(record["accuracy_by_step"]) == 3
    assert record["accuracy"] == pytest.approx(record["accuracy_by_step"][-1])
    options = ["--ways", "3", "--shots", "2", "--queries", "4"]
    assert program.main([*base, *options]) == 0
    percent, interval = 100 * record["accuracy"], 100 * record["interval"]
    assert capsys.readouterr().out == (
        f"3-way 2-shot: {percent:.2f} +- {interval:.2f} % (3 tasks, one query at a time)"
        f"; normalised prototypes {100 * record['prototypes']:.2f} %, difference "
        f"{100 * record['gain_by_step'][-1][0]:+.2f} +- {100 * record['gain_by_step'][-1][1]:.2f}\n"
    )
    assert program.main([*base, "--ways", "20", "--within-alphabet", "--steps", "1"]) == 0
    assert capsys.readouterr().out.startswith("20-way 1-shot within one alphabet: ")


def test_a_single_task_has_no_interval(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["evaluate", "--weights", weights, "--data", "synthetic", "--tasks", "1"]
    assert program.main([*base, "--ways", "3", "--json"]) == 0

    def no_json(word: str) -> None:
        pytest.fail(f"JSON has no {word}")

    record = json.loads(capsys.readouterr().out, parse_constant=no_json)
    assert record["interval"] is None
    assert [interval for _, interval in record["gain_by_step"]] == [None] * 3
    assert program.main([*base, "--ways", "3"]) == 0
    assert capsys.readouterr().out == (
        f"3-way 1-shot: {100 * record['accuracy']:.2f} % (1 tasks, one query at a time)"
        f"; normalised prototypes {100 * record['prototypes']:.2f} %, difference "
        f"{100 * record['gain_by_step'][-1][0]:+.2f}\n"
    )


@pytest.fixture
def doodles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Words of every part, as Quick, Draw! would hold them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "doodles"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for word in (*TEST_WORDS[:6], *CHOOSE_WORDS[:5], "sun", "moon", "star", "fish", "owl", "zebra"):
        lines = [
            json.dumps({"word": word, "recognized": True, "drawing": [drawn.tolist()]})
            for drawn in rng.integers(0, 256, (14 if word == "zebra" else 15, 2, 5))
        ]
        (folder / f"{word}.ndjson").write_text("\n".join(lines))
    return str(folder)


def test_doodles_are_evaluated_on_the_part_asked_for(
    weights: str, doodles: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = ["evaluate", "--weights", weights, "--source", "quickdraw", "--tasks", "2"]
    ways = {"train": 5, "choose": 5, "test": 6, "all": 16}
    for part, count in ways.items():
        shown = [*base, "--data", doodles, "--part", part]
        assert program.main([*shown, "--ways", str(count)]) == 0
        assert capsys.readouterr().out.startswith(f"{count}-way 1-shot: ")
        line = refused(capsys, *shown, "--ways", str(count + 1))
        assert f"got {count} characters" in line
    monkeypatch.setenv("QUICKDRAW_DIR", doodles)
    assert program.main([*base, "--ways", "6"]) == 0


def test_doodles_train_and_their_weights_say_so(
    tmp_path: Path,
    doodles: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = RECIPES["notebook"]
    training = dataclasses.replace(notebook.training, evaluation_tasks=2)
    monkeypatch.setitem(RECIPES, "notebook", dataclasses.replace(notebook, training=training))
    out = tmp_path / "run"
    command = ["train", "--source", "quickdraw", "--data", doodles, "--out", str(out)]
    assert program.main([*command, "--recipe", "notebook", "--iterations", "1", "--json"]) == 0
    capsys.readouterr()
    told = json.loads((out / "model.json").read_text())["data"]
    assert (told["name"], told["split"]) == ("Quick, Draw!", "doodles")
    assert told["held_out_of_training"]  # It was evaluated on the words that choose.

    # Alphabets are divided by a protocol of theirs, whatever the weights were trained on.
    measure = ["evaluate", "--weights", str(out / "model.safetensors"), "--tasks", "2"]
    for source in (["--source", "generated"], ["--source", "quickdraw", "--data", doodles]):
        assert program.main([*measure, *source]) == 0
        assert capsys.readouterr().out.startswith("5-way 3-shot: ")


def test_a_recorded_suite_stands_beside_the_weights_with_what_measured_it(
    weights: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures themselves take a quarter of an hour: tests/test_suite.py has them in small."""
    figures = [
        program.suite.Measurement("5-way 1-shot", 98.7, "%", 0.1, 2000, {"prototypes": 98.6}),
        program.suite.Measurement("largest change when asked twice", 0.0, ""),
    ]
    monkeypatch.setattr(program.suite, "run", lambda *_: iter(figures))
    arguments = ["evaluate", "--weights", weights, "--data", "synthetic", "--suite", "--record"]
    assert program.main(arguments) == 0
    assert capsys.readouterr().out == "".join(f"{figure}\n" for figure in figures)
    record = json.loads(Path(weights).with_suffix(".json").read_text())
    assert [one["measure"] for one in record["suite"]] == [one.measure for one in figures]
    assert record["suite"][0]["baselines"] == {"prototypes": 98.6}
    assert torch.__version__.startswith(record["suite_measured_with"]["torch"])
    assert record["data"] == {"split": "alphabets"}
    assert program.load_pretrained(weights).provenance == record


# adapt -------------------------------------------------------------------------------------------


def test_adapting_to_folders_of_pictures(
    weights: str, symbols: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = [shape(tmp_path / "q" / f"{kind}.webp", kind, 3, lossless=True)
               for kind in ("ring", "cross", "bar")]  # fmt: skip
    base = ["adapt", str(symbols), *map(str, queries), "--weights", weights]
    assert program.main([*base, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["file"] for record in records] == [str(path) for path in queries]
    for record, kind in zip(records, ("ring", "cross", "bar"), strict=True):
        shares = record["probabilities"]
        assert list(shares) == ["bar", "cross", "ring"]
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=shares.get) == kind
        assert 0 <= record["unknown"] <= 1
        assert len(record["shares"]) == 4
        assert sum(record["shares"]) == pytest.approx(1)
        largest = record["shares"].index(max(record["shares"]))
        assert record["name"] == ["bar", "cross", "ring", None][largest]
        assert record["name"] in (kind, None)
    assert program.main(base) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, record in zip(lines, records, strict=True):
        named = zip(("bar", "cross", "ring", "None of these"), record["shares"], strict=True)
        shown = ", ".join(f"{k} {100 * v:.1f} %" for k, v in named)
        assert line == f"{record['file']}: {record['name'] or 'None of these'} ({shown})"


# data and bench ----------------------------------------------------------------------------------


def test_data_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["data", "--data", "synthetic", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == "generated alphabets"
    assert (record["characters"], record["drawings"]) == (24, 10)
    assert record["background"] == {"Generated_01": 6, "Generated_02": 6}
    assert program.main(["data", "--data", "synthetic"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("generated alphabets: 24 characters x 10 drawings")
    assert lines[1] == "background: 2 alphabets, 12 characters"
    assert "  Generated_03: 6" in lines


def test_doodles_are_described(doodles: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "--source", "quickdraw", "--data", doodles]
    assert program.main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == "Quick, Draw!"
    assert "CC BY 4.0" in record["licence"]
    assert (record["characters"], record["drawings"], record["pictures"]) == (16, 15, 240)
    assert record["train"] == ["fish", "moon", "owl", "star", "sun"]
    assert record["test"] == list(TEST_WORDS[:6])
    assert record["left_out"] == {"zebra": 14}
    assert program.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Quick, Draw!: 16 words x 15 drawings (CC BY 4.0, Google)",
        "train: 5 words",
        "  fish, moon, owl, star, sun",
    ]
    assert lines[-2:] == ["left out, with fewer than 15 recognised drawings:", "  zebra 14"]


def test_bench_prints_every_size(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["bench", "--weights", weights, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 8
    assert {tuple(row) for row in rows} == {("what", "median_ms", "p95_ms")}


def test_training_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def timings(**options: object) -> Iterator[StepTiming]:
        asked.append(options)
        yield StepTiming("small", 4, 300.0, 100.0, 2.9, 31.6, None, 2e-14)

    monkeypatch.setattr(program, "bench_training", timings)
    assert program.main(["bench", "--training", "--repeats", "3", "--json"]) == 0
    assert asked == [{"device": "cpu", "repeats": 3}]
    record = json.loads(capsys.readouterr().out)
    assert record["recipe"] == "small"
    assert record["ratio"] == 2.9
    assert record["batched_mb"] is None
    assert program.main(["bench", "--training"]) == 0
    assert capsys.readouterr().out == (
        "small, meta-batch 4: 100.0 ms an outer step, 2.90 times as fast as higher's 300.0 ms; "
        "peak memory unknown (higher 32 MB); gradients agree to 2e-14\n"
    )
    assert asked[1]["repeats"] == 7


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "required: --out"),
        (["train", "--out", "OUT", "--recipe", "best"], "invalid choice: 'best'"),
        (["train", "--out", "OUT", "--iterations", "many"], "invalid int value: 'many'"),
        (["train", "--out", "OUT", "--iterations", "-1", "--data", "synthetic"], "got -1"),
        (
            ["train", "--out", "OUT", "--iterations", "0", "--recipe", "notebook"],
            "nothing to train",
        ),
        (["train", "--out", "OUT", "--episodes", "5", "--recipe", "notebook"], "no pre-training"),
        (["train", "--out", "OUT", "--episodes", "0", "--recipe", "flagship"], "got 0"),
        (["train", "--out", "OUT", "--hold-out", "16"], "validation alphabets must be .* got 16"),
        (["train", "--out", "OUT", "--set", "speed=9"], "SETTING=VALUE .* got 'speed=9'"),
        (["train", "--out", "OUT", "--set", "ways"], "takes a number, true or false; got ''"),
        (["train", "--out", "OUT", "--set", "ways=many"], "ways= takes a number.* got 'many'"),
        (["train", "--out", "OUT", "--set", "ways=99"], "from 2 to 20; got 99"),
        (["train", "--out", "OUT", "--threads", "0"], "threads must be a whole number from 1"),
        (["train", "--out", "OUT", "--seed", "-1"], "seed must be a whole number from 0"),
        (["train", "--out", "OUT", "--seed", str(2**70)], "seed must be a whole number from 0"),
        (
            ["train", "--out", "OUT", "--data", "synthetic", "--device", "gpu"],
            "Device 'gpu' cannot",
        ),
        (["train", "--out", "OUT", "--data", "synthetic", "--device", "meta"], "Device 'meta'"),
        (["train", "--out", "OUT", "--data", "synthetic", "--device", "cuda:99"], "'cuda:99'"),
        (
            ["train", "--out", "OUT", "--data", "synthetic", "--recipe", "flagship"],
            "do not serve|held out",
        ),
        (["train", "--out", "FILE", "--data", "synthetic", "--recipe", "notebook"], "FILE|file"),
        (["train", "--out", "OUT", "--data", "nowhere", "--recipe", "notebook"], "nowhere"),
        (["evaluate", "--weights", "nowhere.safetensors"], "There is no weights file nowhere"),
        (["evaluate", "--weights", "FILE"], "not a whole safetensors file"),
        (["evaluate", "--weights", "a/b/c"], "neither a file nor a Hub id"),
        (["evaluate", "EVAL", "--tasks", "0"], "tasks must be .*; got 0"),
        (["evaluate", "EVAL", "--steps", "-1"], "steps must be .*; got -1"),
        (["evaluate", "EVAL", "--seed", "-5"], "seed must be .*; got -5"),
        (["evaluate", "EVAL", "--ways", "1"], "ways must be .*; got 1"),
        (["evaluate", "EVAL", "--ways", "13"], "13 ways need as many characters"),
        (["evaluate", "EVAL", "--ways", "3", "--shots", "9"], "need 14 drawings"),
        (["evaluate", "EVAL", "--split", "lake"], "invalid choice: 'lake'"),
        (["evaluate", "EVAL", "--part", "choose"], "one of train, test under .*; got 'choose'"),
        (["evaluate", "EVAL", "--source", "quickdraw", "--split", "notebook"], "leave --split out"),
        (["evaluate", "EVAL", "--source", "quickdraw", "--suite"], "leave --source out"),
        (["evaluate", "EVAL", "--source", "quickdraw"], "does not exist.*'synthetic'"),
        (["data", "--data", "nowhere"], "nowhere"),
        (["data", "--source", "quickdraw", "--data", "nowhere"], "nowhere"),
        (["data", "--source", "quickdraw", "--data", "EMPTY"], r"has no \.ndjson file"),
        (["data", "--source", "generated", "--data", "nowhere"], "leave --data out"),
        (["data", "--source", "doodles"], "invalid choice: 'doodles'"),
        (["bench", "--weights", "nowhere.safetensors"], "There is no weights file"),
        (["bench", "--training", "--weights", "x"], "leave --weights out; got 'x'"),
        (["bench", "--training", "--repeats", "0"], "repeats must be a whole number"),
        (["adapt", "SYMBOLS"], "required: queries"),
        (["adapt", "nowhere", "PICTURE", "WEIGHTS"], "nowhere is not a folder"),
        (
            ["adapt", "EMPTY", "PICTURE", "WEIGHTS"],
            "must hold a folder of pictures .*; got 0",
        ),
        (["adapt", "SYMBOLS", "nowhere.png", "WEIGHTS"], "There is no picture nowhere.png"),
        (["adapt", "SYMBOLS", "FILE", "WEIGHTS"], "is not a picture that can be read"),
        (["adapt", "SYMBOLS", "SYMBOLS", "WEIGHTS"], "is not a picture that can be read"),
        (["adapt", "SYMBOLS", "CUT", "WEIGHTS"], "is not a picture that can be read"),
        (["adapt", "SYMBOLS", "BLANK", "WEIGHTS"], "blank.png: There is no ink in this picture"),
        (
            ["adapt", "SYMBOLS", "PICTURE", "WEIGHTS", "--steps", "101"],
            "steps must be .*; got 101",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    symbols: Path,
    weights: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_bytes(b"\x89PNG nothing of worth")
    (tmp_path / "empty").mkdir()
    picture = shape(tmp_path / "picture.png", "ring")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:150])
    Image.new("L", (50, 50), 200).save(tmp_path / "blank.png")
    places: dict[str, list[str]] = {
        "OUT": [str(tmp_path / "out")],
        "FILE": [str(tmp_path / "file")],
        "EMPTY": [str(tmp_path / "empty")],
        "SYMBOLS": [str(symbols)],
        "PICTURE": [str(picture)],
        "CUT": [str(tmp_path / "cut.png")],
        "BLANK": [str(tmp_path / "blank.png")],
        "WEIGHTS": ["--weights", weights],
        "EVAL": ["--weights", weights, "--data", "synthetic"],
    }
    filled = [word for argument in arguments for word in places.get(argument, [argument])]
    assert re.search(message, refused(capsys, *filled))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_symbols_without_pictures(
    symbols: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (symbols / "void").mkdir()
    line = refused(capsys, "adapt", str(symbols), str(symbols / "bar" / "one.png"),
                   "--weights", weights)  # fmt: skip
    assert "void holds no picture (.bmp, .gif, .jpeg, .jpg, .png, .webp)" in line


def test_too_many_symbols(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(21):
        shape(tmp_path / "many" / f"{number:02}" / "a.png", "ring")
    line = refused(capsys, "adapt", str(tmp_path / "many"),
                   str(tmp_path / "many" / "00" / "a.png"), "--weights", weights)  # fmt: skip
    assert "the names of 2 to 20 symbols; got 21" in line


# A process of its own ----------------------------------------------------------------------------


def test_the_program_ends_with_the_status_of_its_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["maml", "evaluate", "--weights", "nowhere.safetensors"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="^2$"):
            program.console_script()
        assert signal.getsignal(signal.SIGTERM) is not before
    finally:
        signal.signal(signal.SIGTERM, before)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "maml: There is no weights file nowhere.safetensors.\n"


@pytest.mark.parametrize("command", [None, "train", "evaluate", "adapt", "data", "bench"])
def test_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main([*([command] if command else []), "--help"])
    assert ended.value.code == 0
    assert "usage: maml" in capsys.readouterr().out


@pytest.mark.process
def test_reader_that_goes_away_is_no_failure(weights: str) -> None:
    """`python -m maml bench | head -1`: silence on standard error."""
    shell = f'"{sys.executable}" -m maml bench --json --weights "{weights}" | head -c 1'
    ended = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert ended.stdout == "{"
    assert ended.stderr == ""
