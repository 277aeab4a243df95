"""The arguments of the command line: every command, its options and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from maml.config import SOURCES, Algorithm, Part, Source
from maml.recipes import DEFAULT_RECIPE, RECIPES
from maml.sessions.form import SETTINGS
from maml.trackers import Tracker

_GENERATED = ("generated", "synthetic")
"""As `--data`, older words for `--source generated`, which scripts still use."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"maml: {message} (python -m {self.prog} --help explains)\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of one command, with its name as `command`.

    Args:
        arguments: without the program's name; those of this process by default.

    Raises:
        SystemExit: with status 2 if they are wrong, with 0 after help.
    """
    return _parser().parse_args(arguments)


def source_of(options: argparse.Namespace) -> tuple[Source, str | None]:
    """Which data, and the folder that was named.

    Raises:
        ValueError: if a folder was named for alphabets that lie in none.
    """
    source, folder = options.source, options.data
    if folder in _GENERATED and source in (None, "generated"):
        return "generated", None
    if source == "generated" and folder is not None:
        raise ValueError(f"Generated alphabets lie in no folder; leave --data out; got {folder!r}.")
    return source or "omniglot", folder


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="maml", description=sys.modules["maml"].__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="meta-train a network by a recipe")
    recipes = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
    recipes = recipes.replace("%", "%%")  # argparse fills in its own %(default)s and the like.
    train.add_argument(
        "--recipe",
        choices=list(RECIPES),
        help=f"{recipes}; default: {DEFAULT_RECIPE}, with --resume that of the run",
    )
    train.add_argument(
        "--algorithm",
        choices=get_args(Algorithm),
        help=f"what an outer step of the recipe live minimises; default: "
        f"{RECIPES['live'].training.algorithm}",
    )
    train.add_argument("--out", type=Path, required=True, help="folder for records and weights")
    train.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    train.add_argument("--iterations", type=int, help="outer steps, instead of the recipe's")
    train.add_argument(
        "--episodes", type=int, help="pre-training episodes, instead of the recipe's"
    )
    train.add_argument("--seed", type=int, help="instead of the recipe's")
    train.add_argument(
        "--hold-out",
        type=int,
        metavar="ALPHABETS",
        help="training alphabets held out for evaluation and calibration, instead of the recipe's; "
        "0 evaluates on the test alphabets and does not calibrate",
    )
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
    train.add_argument(
        "--log",
        choices=get_args(Tracker),
        help="hand the records to trackio or TensorBoard as well (the extras trackio, tensorboard)",
    )
    train.add_argument("--json", action="store_true", help="print the last figure as JSON")

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

    use = commands.add_parser("adapt", help="learn symbols from pictures and name others")
    use.add_argument("folder", type=Path, help="holds one folder of pictures for each symbol")
    use.add_argument("queries", type=Path, nargs="+", help="pictures to name")
    use.add_argument("--steps", type=int, help="inner steps; default: those of the weights")
    use.add_argument("--json", action="store_true")
    _add_weights(use)
    _add_device(use)

    data = commands.add_parser("data", help="download and verify a data set, and describe it")
    _add_data(data)
    data.add_argument("--json", action="store_true")

    speed = commands.add_parser("bench", help="time of adapting and answering, or of training")
    speed.add_argument(
        "--training",
        action="store_true",
        help="time the outer step of every recipe, against a plain loop on higher",
    )
    speed.add_argument("--repeats", type=int, help="of each measurement; default: 30, training 7")
    speed.add_argument("--json", action="store_true")
    _add_weights(speed)
    _add_device(speed)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        choices=SOURCES,
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
        "--weights",
        help="a .safetensors file, a Hub id, or flagship or live, which are bundled; "
        "default: flagship",
    )
