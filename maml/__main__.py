"""The command line: `python -m maml train|evaluate|adapt|data|bench`.

The only module that prints; `maml.arguments` parses.  Bad input gives one line on standard error
and exit status 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NoReturn, get_args

import torch
from tqdm import tqdm

from maml import suite
from maml.adapt import adapt
from maml.arguments import parse, source_of
from maml.bench import bench
from maml.bench_training import bench_training
from maml.checkpoint import load_pretrained, locate_weights, write_atomically
from maml.config import EpisodeShape, Framing, Part, Recipe, Source, Split, require_whole
from maml.data.characters import CharacterSet
from maml.data.omniglot import describe, load_omniglot
from maml.data.pictures import read_picture, read_support
from maml.data.quickdraw import describe_doodles, left_out, load_quickdraw
from maml.data.synthetic import load_generated
from maml.evaluate import EvaluationResult, evaluate
from maml.model import MetaNetwork
from maml.parallel import LostProcess, Processes, joined
from maml.plain import finite
from maml.plots import accuracy_figure
from maml.recipes import DEFAULT_RECIPE, RECIPES, live
from maml.runs import (
    RunFolder,
    TrainingRun,
    commit_of_code,
    leave_a_core,
    log_record,
    notebook_line,
    recipe_of_run,
    software,
)
from maml.sessions.form import changed, of_source, values_of
from maml.trackers import tracked
from maml.train import MetaStep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parse(arguments)
    try:
        _COMMANDS[options.command](options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("maml: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output is gone; flushing the rest at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, LostProcess) as error:
        print("maml:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _device(name: str) -> str:
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"Device {name!r} cannot be used here: {first}") from error
    return name


def _characters(options: argparse.Namespace, framing: Framing) -> CharacterSet:
    source, folder = source_of(options)
    if source == "generated":
        return load_generated(framing=framing)
    if source == "quickdraw":
        return load_quickdraw(folder, framing=framing)
    return load_omniglot(folder, framing=framing)


def _model(options: argparse.Namespace) -> MetaNetwork:
    return load_pretrained(options.weights, device=_device(options.device))


def _print_json(record: Any) -> None:
    print(json.dumps(finite(record), ensure_ascii=False))


# train -------------------------------------------------------------------------------------------


def _recipe(options: argparse.Namespace) -> Recipe:
    folder = RunFolder(options.out)
    if options.recipe is None and options.resume and folder.state.exists():
        recipe = recipe_of_run(folder)
    else:
        recipe = RECIPES[options.recipe or DEFAULT_RECIPE]
    if options.algorithm is not None:
        if recipe.name != "live":
            raise ValueError(
                f"--algorithm is for the recipe live; leave it out; got recipe {recipe.name}."
            )
        recipe = live(options.algorithm)
    recipe = _with_settings(recipe, options.set, source_of(options)[0])
    training = recipe.training
    if options.iterations is not None:
        training = dataclasses.replace(training, iterations=options.iterations)
    if options.episodes is not None:
        if training.pretraining is None:
            raise ValueError(f"Recipe {recipe.name!r} has no pre-training; leave --episodes out.")
        pretraining = dataclasses.replace(training.pretraining, episodes=options.episodes)
        training = dataclasses.replace(training, pretraining=pretraining)
    if options.hold_out is not None:
        if training.split == "doodles":
            raise ValueError(
                "--hold-out is for alphabets; doodles have words of their own for that: leave it "
                f"out; got {options.hold_out}."
            )
        training = dataclasses.replace(training, validation=options.hold_out)
    if options.engine is not None:
        inner = dataclasses.replace(training.inner, engine=options.engine)
        training = dataclasses.replace(training, inner=inner)
    seed = recipe.seed if options.seed is None else options.seed
    return dataclasses.replace(recipe, training=training, seed=seed)


def _with_settings(recipe: Recipe, changes: Sequence[str], source: Source) -> Recipe:
    if not changes:
        return of_source(recipe, source)
    values = values_of(recipe)
    for change in changes:
        key, _, text = change.partition("=")
        if key not in values:
            raise ValueError(
                f"--set takes SETTING=VALUE with one of {', '.join(values)}; got {change!r}"
            )
        try:
            values[key] = json.loads(text)
        except ValueError as error:
            raise ValueError(f"--set {key}= takes a number, true or false; got {text!r}") from error
    return changed(recipe, values, source)


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    if options.threads is None:
        leave_a_core()
    else:
        require_whole("threads", options.threads, 1, 1024)
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    with joined(device) as processes:
        _train_together(options, recipe, device, processes)


def _train_together(
    options: argparse.Namespace, recipe: Recipe, device: str, processes: Processes
) -> None:
    training = TrainingRun(
        options.out,
        recipe,
        _characters(options, recipe.framing),
        device=device,
        resume=options.resume,
        save_every=options.save_every,
        processes=processes,
    )
    if not processes.leads:
        with closing(training.records()) as records, _stop_requests() as requests:
            for _ in records:
                if requests:
                    return
        return
    as_notebook = recipe.name == "notebook" and not options.json
    with (
        tqdm(total=recipe.training.total, disable=as_notebook or None, unit="step") as bar,
        tracked(options.log, options.out, recipe) as log,
        closing(training.records()) as records,
        _stop_requests() as requests,
    ):
        for record in records:
            if requests:
                raise KeyboardInterrupt
            log(log_record(record, recipe.training.epochs(record.iteration)))
            if as_notebook:
                if line := notebook_line(record, recipe.training):
                    print(line, flush=True)
            elif isinstance(record, MetaStep):
                bar.update(record.iteration - bar.n)
                if record.iteration % 10 == 0:
                    shown = f"{record.stage} loss {record.loss:.3f} acc {100 * record.accuracy:.1f}"
                    bar.set_postfix_str(shown, refresh=False)
            elif not options.json:
                for result in (record, *record.others):
                    bar.write(f"step {record.iteration}: {_line(result)}")
    folder, last = training.folder, training.last_evaluation
    figure = folder.path / "maml-accs.png"
    lowest = 70.0 if recipe.name == "notebook" else 0.0
    write_atomically(figure, accuracy_figure(folder.records(), lowest=lowest))
    if options.json and last is not None:
        _print_json(dataclasses.asdict(last))
    elif last is not None and not as_notebook:
        print(f"wrote {folder.weights} and {figure}")


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM, so that a run can stop between two steps and save.

    The second one interrupts at once.
    """
    requests: list[int] = []

    def note(number: int, frame: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        for number in heeded:
            signal.signal(number, before[number])


# evaluate ----------------------------------------------------------------------------------------


def _line(result: EvaluationResult) -> str:
    mode = "transductive" if result.transductive else "one query at a time"
    line = (
        f"{result.protocol}: {100 * result.accuracy:.2f}{_half(result.interval)} % "
        f"({result.tasks} tasks, {mode})"
    )
    if result.prototypes is None:
        return line
    gain, interval = result.gain_by_step[-1]
    return (
        f"{line}; normalised prototypes {100 * result.prototypes:.2f} %, "
        f"difference {100 * gain:+.2f}{_half(interval)}"
    )


def _half(interval: float) -> str:
    """Half the width of a confidence interval, of which a single task has none."""
    return "" if math.isnan(interval) else f" +- {100 * interval:.2f}"


def _evaluate(options: argparse.Namespace) -> None:
    model = _model(options)
    source, _ = source_of(options)
    if options.suite and source == "quickdraw":
        raise ValueError("--suite measures on both data sets; leave --source out; got quickdraw.")
    if options.split and source == "quickdraw":
        raise ValueError(f"Quick, Draw! has one split; leave --split out; got {options.split!r}.")
    data = _characters(options, model.framing)
    if options.suite:
        _run_suite(options, model, data)
        return
    if options.part != "all":
        data = data.split(_split(options, model), options.part)
    if options.ways is None:
        sizes = [(5, 1), (5, 5), (20, 1), (20, 5)]
        if model.fixed_ways:
            training = model.provenance.get("settings", {}).get("training", {})
            sizes = [(model.fixed_ways, shape["shots"]) for shape in training.get("shapes", [])]
            sizes = sizes or [(model.fixed_ways, options.shots)]
    else:
        sizes = [(options.ways, options.shots)]
    for ways, shots in sizes:
        result = evaluate(
            model,
            data,
            EpisodeShape(ways, shots, options.queries, options.within_alphabet),
            options.tasks,
            steps=options.steps,
            seed=options.seed,
            transductive=options.transductive,
        )
        if options.json:
            _print_json(dataclasses.asdict(result))
        else:
            print(_line(result), flush=True)


def _split(options: argparse.Namespace, model: MetaNetwork) -> Split:
    """The requested protocol, else the one of the weights' training."""
    if source_of(options)[0] == "quickdraw":
        return "doodles"
    trained: Split = model.provenance.get("data", {}).get("split", "alphabets")
    return options.split or ("alphabets" if trained == "doodles" else trained)


def _run_suite(options: argparse.Namespace, model: MetaNetwork, data: CharacterSet) -> None:
    rows = []
    doodles = load_quickdraw(framing=model.framing) if data.name == "Omniglot" else None
    for row in suite.run(model, data, options.data, doodles):
        rows.append(row)
        if not options.json:
            print(row, flush=True)
    plain = finite([dataclasses.asdict(row) for row in rows])
    if options.json:
        _print_json(plain)
    if options.record:
        beside = locate_weights(options.weights).with_suffix(".json")
        measured_with = {"commit": commit_of_code(), **software(options.device)}
        record = {**model.provenance, "suite": plain, "suite_measured_with": measured_with}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(beside, text.encode())


# adapt -------------------------------------------------------------------------------------------


def _adapt(options: argparse.Namespace) -> None:
    model = _model(options)
    support = read_support(options.folder, model.framing)
    inks = [read_picture(path, model.framing) for path in options.queries]
    answer = adapt(model, support, options.steps).predict(inks)
    for path, name, probabilities, unknown, shares in zip(
        options.queries,
        answer.winners,
        answer.probabilities.tolist(),
        answer.unknown.tolist(),
        answer.shares.tolist(),
        strict=True,
    ):
        if options.json:
            _print_json(
                {
                    "file": str(path),
                    "name": name,
                    "probabilities": dict(zip(answer.names, probabilities, strict=True)),
                    "unknown": unknown,
                    "shares": shares,
                }
            )
        else:
            listed = ", ".join(
                f"{key} {100 * share:.1f} %"
                for key, share in zip((*answer.names, "None of these"), shares, strict=True)
            )
            print(f"{path}: {name or 'None of these'} ({listed})")


# data and bench ----------------------------------------------------------------------------------


def _data(options: argparse.Namespace) -> None:
    data = _characters(options, "fit")
    if source_of(options)[0] == "quickdraw":
        _describe_doodles(options, data)
        return
    record = describe(data)
    if options.json:
        _print_json({"name": data.name, **record})
        return
    print(
        f"{data.name}: {record['characters']} characters x {record['drawings']} drawings, "
        "complete and verified"
    )
    for part in ("background", "evaluation"):
        print(f"{part}: {len(record[part])} alphabets, {sum(record[part].values())} characters")
        for alphabet, count in record[part].items():
            print(f"  {alphabet}: {count}")


def _describe_doodles(options: argparse.Namespace, data: CharacterSet) -> None:
    record = {**describe_doodles(data), "left_out": left_out(options.data)}
    if options.json:
        _print_json({"name": data.name, **record})
        return
    print(
        f"{data.name}: {record['characters']} words x {record['drawings']} drawings "
        f"({record['licence']})"
    )
    for part in get_args(Part):
        print(f"{part}: {len(record[part])} words")
        if record[part]:
            print(
                textwrap.fill(
                    ", ".join(record[part]), 100, initial_indent="  ", subsequent_indent="  "
                )
            )
    if record["left_out"]:
        listed = ", ".join(f"{word} {count}" for word, count in record["left_out"].items())
        print(f"left out, with fewer than {record['drawings']} recognised drawings:")
        print(textwrap.fill(listed, 100, initial_indent="  ", subsequent_indent="  "))


def _bench(options: argparse.Namespace) -> None:
    if options.training:
        _bench_training(options)
        return
    repeats = 30 if options.repeats is None else options.repeats
    for row in bench(_model(options), repeats):
        if options.json:
            _print_json(dataclasses.asdict(row))
        else:
            print(f"{row.what}: median {row.median_ms:.1f} ms, 95th percentile {row.p95_ms:.1f} ms")


def _bench_training(options: argparse.Namespace) -> None:
    if options.weights:
        raise ValueError(
            f"--training times networks with fresh weights; leave --weights out; got "
            f"{options.weights!r}."
        )
    repeats = 7 if options.repeats is None else options.repeats
    for row in bench_training(device=_device(options.device), repeats=repeats):
        if options.json:
            _print_json(dataclasses.asdict(row))
            continue
        higher, batched = (
            "unknown" if size is None else f"{size:.0f} MB"
            for size in (row.higher_mb, row.batched_mb)
        )
        print(
            f"{row.recipe}, meta-batch {row.meta_batch}: {row.batched_ms:.1f} ms an outer step, "
            f"{row.ratio:.2f} times as fast as higher's {row.higher_ms:.1f} ms; "
            f"peak memory {batched} (higher {higher}); gradients agree to {row.agreement:.0e}"
            + (f"; TorchOpt {row.torchopt_ms:.1f} ms" if row.torchopt_ms else ""),
            flush=True,
        )


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "adapt": _adapt,
    "data": _data,
    "bench": _bench,
}


def console_script() -> NoReturn:
    """Run `main` as a program: SIGTERM stops it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


if __name__ == "__main__":
    console_script()
