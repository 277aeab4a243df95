"""The command line: `python -m maml train|evaluate|adapt|data|bench`.

The only module that parses arguments and prints.  Bad input gives one line on standard error and
exit status 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import torch
from tqdm import tqdm

from maml import suite
from maml.adapt import adapt
from maml.bench import bench
from maml.checkpoint import BUNDLED, load_pretrained, write_atomically
from maml.config import EpisodeShape, Framing, Part, Recipe, Split, require_whole
from maml.data.characters import CharacterSet
from maml.data.omniglot import describe, load_omniglot
from maml.data.pictures import read_picture, read_support
from maml.data.quickdraw import describe_doodles, left_out, load_quickdraw
from maml.data.synthetic import load_generated
from maml.evaluate import EvaluationResult, evaluate
from maml.model import MetaNetwork
from maml.plots import accuracy_figure
from maml.recipes import RECIPES
from maml.runs import (
    TrainingRun,
    commit_of_code,
    leave_a_core,
    notebook_line,
    software,
)
from maml.sessions.form import SETTINGS, recipe_of, values_of
from maml.train import MetaStep

_Source = Literal["omniglot", "quickdraw", "generated"]
_GENERATED = ("generated", "synthetic")
"""As `--data`, older words for `--source generated`, which scripts still use."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"maml: {message} (python -m {self.prog} --help explains)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], None] = options.run
        run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("maml: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output is gone; flushing the rest at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print("maml:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="maml", description=sys.modules["maml"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="meta-train a network by a recipe")
    recipes = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
    recipes = recipes.replace("%", "%%")  # argparse fills in its own %(default)s and the like.
    train.add_argument("--recipe", choices=list(RECIPES), default="quick", help=recipes)
    train.add_argument("--out", type=Path, required=True, help="folder for records and weights")
    train.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    train.add_argument("--iterations", type=int, help="outer steps, instead of the recipe's")
    train.add_argument(
        "--episodes", type=int, help="pre-training episodes, instead of the recipe's"
    )
    train.add_argument("--seed", type=int, help="instead of the recipe's")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="another setting instead of the recipe's, by the names of the Train tab: "
        + ", ".join(setting.key for setting in SETTINGS),
    )
    train.add_argument(
        "--engine",
        choices=["batched", "higher"],
        help="implementation of the inner loop, instead of the recipe's; results are the same up "
        "to rounding",
    )
    train.add_argument("--save-every", type=float, default=30, metavar="SECONDS")
    train.add_argument(
        "--threads",
        type=int,
        help="default: one fewer than there are cores. Results depend on the thread count, so "
        "--resume with the same number",
    )
    _add_data(train)
    _add_device(train)
    train.add_argument("--json", action="store_true", help="print the last figure as JSON")
    train.set_defaults(run=_train)

    measure = commands.add_parser("evaluate", help="measure accuracy on test characters")
    measure.add_argument(
        "--ways", type=int, help="ways of one protocol; default: the four standard protocols"
    )
    measure.add_argument("--shots", type=int, default=1)
    measure.add_argument("--queries", type=int, default=5, help="of each character")
    measure.add_argument(
        "--within-alphabet", action="store_true", help="tasks of one alphabet each"
    )
    measure.add_argument("--tasks", type=int, default=1000)
    measure.add_argument("--steps", type=int, help="inner steps; default: those of the weights")
    measure.add_argument("--seed", type=int, default=0, help="of the tasks")
    measure.add_argument(
        "--split",
        choices=["alphabets", "notebook"],
        help="split of Omniglot; default: that of the weights",
    )
    measure.add_argument(
        "--part",
        choices=[*get_args(Part), "all"],
        default="test",
        help="part of the data (choose: of Quick, Draw! only); default: test",
    )
    measure.add_argument(
        "--transductive",
        action="store_true",
        help="normalise the queries of a task together, as published MAML results do",
    )
    measure.add_argument("--suite", action="store_true", help="all published measurements")
    measure.add_argument(
        "--record", action="store_true", help="with --suite: write the results beside the weights"
    )
    measure.add_argument("--json", action="store_true")
    _add_weights(measure)
    _add_data(measure)
    _add_device(measure)
    measure.set_defaults(run=_evaluate)

    use = commands.add_parser("adapt", help="learn symbols from pictures and name others")
    use.add_argument("folder", type=Path, help="holds one folder of pictures for each symbol")
    use.add_argument("queries", type=Path, nargs="+", help="pictures to name")
    use.add_argument("--steps", type=int, help="inner steps; default: those of the weights")
    use.add_argument("--json", action="store_true")
    _add_weights(use)
    _add_device(use)
    use.set_defaults(run=_adapt)

    data = commands.add_parser("data", help="download and verify a data set, and describe it")
    _add_data(data)
    data.add_argument("--json", action="store_true")
    data.set_defaults(run=_data)

    speed = commands.add_parser("bench", help="time of adapting and answering")
    speed.add_argument("--json", action="store_true")
    _add_weights(speed)
    _add_device(speed)
    speed.set_defaults(run=_bench)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        choices=get_args(_Source),
        help="omniglot: characters of 50 alphabets (default); quickdraw: doodles of Quick, Draw!; "
        "generated: alphabets made up here, without a download",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="Omniglot's zips or Quick, Draw!'s .ndjson files; default: OMNIGLOT_DIR or "
        "QUICKDRAW_DIR, then the cache folder, then a download; 'generated' and 'synthetic' mean "
        "--source generated",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", help="a .safetensors file or Hub id; default: the bundled ones"
    )


def _device(name: str) -> str:
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"Device {name!r} cannot be used here: {first}") from error
    return name


def _source(options: argparse.Namespace) -> tuple[_Source, str | None]:
    """Which data, and the folder that was named."""
    source, folder = options.source, options.data
    if folder in _GENERATED and source in (None, "generated"):
        return "generated", None
    if source == "generated" and folder is not None:
        raise ValueError(f"Generated alphabets lie in no folder; leave --data out; got {folder!r}.")
    return source or "omniglot", folder


def _characters(options: argparse.Namespace, framing: Framing) -> CharacterSet:
    source, folder = _source(options)
    if source == "generated":
        return load_generated(framing=framing)
    if source == "quickdraw":
        return load_quickdraw(folder, framing=framing)
    return load_omniglot(folder, framing=framing)


def _model(options: argparse.Namespace) -> MetaNetwork:
    return load_pretrained(options.weights, device=_device(options.device))


def _print_json(record: Any) -> None:
    print(json.dumps(record, ensure_ascii=False))


# train -------------------------------------------------------------------------------------------


def _recipe(options: argparse.Namespace) -> Recipe:
    recipe = _with_settings(RECIPES[options.recipe], options.set)
    training = recipe.training
    if options.iterations is not None:
        training = dataclasses.replace(training, iterations=options.iterations)
    if options.episodes is not None:
        if training.pretraining is None:
            raise ValueError(f"Recipe {recipe.name!r} has no pre-training; leave --episodes out.")
        pretraining = dataclasses.replace(training.pretraining, episodes=options.episodes)
        training = dataclasses.replace(training, pretraining=pretraining)
    if _source(options)[0] == "quickdraw":
        training = dataclasses.replace(training, split="doodles")
    if options.engine is not None:
        inner = dataclasses.replace(training.inner, engine=options.engine)
        training = dataclasses.replace(training, inner=inner)
    seed = recipe.seed if options.seed is None else options.seed
    return dataclasses.replace(recipe, training=training, seed=seed)


def _with_settings(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    if not changes:
        return recipe
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
    return recipe_of(recipe.name, values)


def _train(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    if options.threads is None:
        leave_a_core()
    else:
        require_whole("threads", options.threads, 1, 1024)
        torch.set_num_threads(options.threads)
    training = TrainingRun(
        options.out,
        recipe,
        _characters(options, recipe.framing),
        device=_device(options.device),
        resume=options.resume,
        save_every=options.save_every,
    )
    as_notebook = recipe.name == "notebook" and not options.json
    with (
        tqdm(total=recipe.training.total, disable=as_notebook or None, unit="step") as bar,
        closing(training.records()) as records,
        _stop_requests() as requests,
    ):
        for record in records:
            if requests:
                raise KeyboardInterrupt
            if as_notebook:
                if line := notebook_line(record, recipe.training):
                    print(line, flush=True)
            elif isinstance(record, MetaStep):
                bar.update(record.iteration - bar.n)
                if record.iteration % 10 == 0:
                    shown = f"{record.stage} loss {record.loss:.3f} acc {100 * record.accuracy:.1f}"
                    bar.set_postfix_str(shown, refresh=False)
            elif not options.json:
                bar.write(f"step {record.iteration}: {_line(record)}")
    folder, last = training.folder, training.last_evaluation
    figure = folder.path / "maml-accs.png"
    write_atomically(figure, accuracy_figure(folder.records()))
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
    return (
        f"{result.protocol}: {100 * result.accuracy:.2f} +- {100 * result.interval:.2f} % "
        f"({result.tasks} tasks, {mode})"
    )


def _evaluate(options: argparse.Namespace) -> None:
    model = _model(options)
    source, _ = _source(options)
    if options.suite and source == "quickdraw":
        raise ValueError("--suite measures on Omniglot; leave --source out; got quickdraw.")
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
    if _source(options)[0] == "quickdraw":
        return "doodles"
    trained: Split = model.provenance.get("data", {}).get("split", "alphabets")
    return options.split or ("alphabets" if trained == "doodles" else trained)


def _run_suite(options: argparse.Namespace, model: MetaNetwork, data: CharacterSet) -> None:
    rows = []
    for row in suite.run(model, data, options.data):
        rows.append(row)
        if not options.json:
            print(row, flush=True)
    plain = [dataclasses.asdict(row) for row in rows]
    if options.json:
        _print_json(plain)
    if options.record:
        beside = Path(options.weights or BUNDLED).with_suffix(".json")
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
    for path, name, row, unknown in zip(
        options.queries,
        answer.winners,
        answer.probabilities.tolist(),
        answer.unknown.tolist(),
        strict=True,
    ):
        shares = dict(zip(answer.names, row, strict=True))
        if options.json:
            _print_json(
                {"file": str(path), "name": name, "probabilities": shares, "unknown": unknown}
            )
        else:
            listed = ", ".join(f"{key} {100 * share:.1f} %" for key, share in shares.items())
            print(f"{path}: {name or 'None of these'} ({listed})")


# data and bench ----------------------------------------------------------------------------------


def _data(options: argparse.Namespace) -> None:
    data = _characters(options, "fit")
    if _source(options)[0] == "quickdraw":
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
    for row in bench(_model(options)):
        if options.json:
            _print_json(dataclasses.asdict(row))
        else:
            print(f"{row.what}: median {row.median_ms:.1f} ms, 95th percentile {row.p95_ms:.1f} ms")


def console_script() -> NoReturn:
    """Run `main` as a program: SIGTERM stops it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


if __name__ == "__main__":
    console_script()
