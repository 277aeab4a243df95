"""Ablations of the recipe of the shipped weights: ``python -m benchmarks.ablations``.

Trains short versions of the recipe `flagship`, one per row, each with one setting changed, and
prints the accuracy on held-out *background* alphabets; test alphabets are not used.  All rows share
the seed and the tasks.  Short runs show what speeds up learning better than what prevents a long
run from overfitting.  With ``--weights`` each row continues with outer steps from those weights.
With ``--branches`` nothing is trained: each row is a choice among those branches (weights that
`benchmarks.branches` trains or joins), measured on the held-out alphabets and the words for
choosing.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from benchmarks.branches import joined, loaded, whitened
from maml import load_omniglot, load_pretrained, load_quickdraw, meta_train
from maml.config import EpisodeShape, MetaTraining, Recipe
from maml.data.characters import CharacterSet
from maml.evaluate import FeatureTable, evaluate_table
from maml.model import MetaNetwork
from maml.networks import SketchNet, build_model
from maml.recipes import RECIPES
from maml.train import training_parts

SHAPES = (
    EpisodeShape(5, 1),
    EpisodeShape(5, 5),
    EpisodeShape(20, 1),
    EpisodeShape(20, 5),
    EpisodeShape(20, 1, within_alphabet=True),
    EpisodeShape(20, 5, within_alphabet=True),
)
WORD_SHAPES = (
    EpisodeShape(5, 1),
    EpisodeShape(5, 5),
    EpisodeShape(5, 10),
    EpisodeShape(20, 1),
    EpisodeShape(20, 5),
)


def ablations(episodes: int, outer: int) -> dict[str, Recipe]:
    """The recipe, and the recipe with one setting changed, by name."""
    shipped = RECIPES["flagship"]
    pretraining = shipped.training.pretraining
    assert pretraining is not None
    short = replace(pretraining, episodes=episodes)
    training = replace(shipped.training, iterations=0, pretraining=short, evaluation_tasks=1)
    base = replace(shipped, training=training)

    def pretrained(**changed: object) -> Recipe:
        return replace(
            base,
            training=replace(training, pretraining=replace(short, **changed)),  # type: ignore[arg-type]
        )

    loop = _outer_loop(training, outer)
    return {
        "as shipped, pre-training only": base,
        "without proxies": pretrained(proxies=0.0),
        "without dropout": pretrained(dropout=0.0),
        "without augmentation": replace(base, training=replace(training, augment=False)),
        "32 ways, 8 drawings": pretrained(ways=32, drawings=8),
        "128 ways, 2 drawings": pretrained(ways=128, drawings=2),
        "without test-time augmentation": replace(
            base, network=replace(base.network, test_time_views=1)
        ),
        "half the channels": replace(base, network=replace(base.network, channels=32)),
        "1.5 times the channels": replace(base, network=replace(base.network, channels=96)),
        f"with {outer} outer steps": replace(base, training=loop),
        f"with {outer} first-order outer steps": replace(
            base, training=replace(loop, inner=replace(loop.inner, second_order=False))
        ),
        f"with {outer} outer steps, only the head adapts": replace(
            base, network=replace(base.network, adaptable=0), training=loop
        ),
        f"with {outer} outer steps, the linear layer adapts too": replace(
            base, network=replace(base.network, adaptable=2), training=loop
        ),
    }


def outer_loops(outer: int) -> dict[str, Recipe]:
    """Outer loops for a pre-trained network, by name."""
    shipped = RECIPES["flagship"]
    training = replace(shipped.training, pretraining=None, evaluation_tasks=1)
    loop = _outer_loop(training, outer)
    single = tuple(shape for shape in loop.shapes if shape.shots == 1)
    changed = {
        "": loop,
        ", first order": replace(loop, inner=replace(loop.inner, second_order=False)),
        ", ten times the outer rate": replace(loop, outer_rate=10 * loop.outer_rate),
        ", one-shot tasks only": replace(loop, shapes=single),
    }
    return {
        f"{outer} outer steps{change}": replace(shipped, training=training)
        for change, training in changed.items()
    }


def _outer_loop(training: MetaTraining, outer: int) -> MetaTraining:
    first = outer // 5
    return replace(
        training,
        iterations=outer,
        epoch=outer,
        first_order_iterations=first,
        multi_step_iterations=2 * first,
    )


def choices(
    parts: Sequence[SketchNet], learned: Iterable[CharacterSet]
) -> Iterator[tuple[str, SketchNet]]:
    """Each branch, each pair and all of them, with two views; all with one or three; all of them
    whitened by what they have learned.  The others are not."""
    names = [f"branch {place + 1}" for place in range(len(parts))]
    for count in sorted({1, 2, len(parts)}):
        for chosen in itertools.combinations(range(len(parts)), count):
            yield " and ".join(names[place] for place in chosen), joined([parts[k] for k in chosen])
    for views in (1, 3):
        model = joined(parts)
        model.settings = replace(model.settings, test_time_views=views)
        yield f"all, test-time views: {views}", model
    yield "all, whitened", whitened(joined(parts), learned)


def _print_row(
    name: str,
    model: MetaNetwork,
    held_out: CharacterSet,
    tasks: int,
    words: CharacterSet | None = None,
) -> None:
    table = FeatureTable(model, held_out)
    results = [evaluate_table(table, shape, tasks) for shape in SHAPES]
    if words is not None:
        table = FeatureTable(model, words)
        results += [evaluate_table(table, shape, tasks) for shape in WORD_SHAPES]
    figures = (f"{100 * result.accuracy:.2f}" for result in results)
    print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--episodes", type=int, default=600, help="pre-training episodes of each row"
    )
    parser.add_argument(
        "--outer", type=int, default=60, help="outer steps of the rows that have any"
    )
    parser.add_argument("--weights", help="continue from these weights instead")
    parser.add_argument(
        "--branches", nargs="+", help="weights of one branch each, or their folders"
    )
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of each evaluation")
    parser.add_argument("--data", help="folder of Omniglot, as for python -m maml train")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    options = parser.parse_args()
    data = load_omniglot(options.data)
    letters, held_out = training_parts(data, RECIPES["flagship"].training)
    if options.branches:
        shapes = [*map(str, SHAPES), *(f"{shape}, doodles" for shape in WORD_SHAPES)]
        print("| branches | " + " | ".join(shapes) + " |")
        print("|---" * (len(shapes) + 1) + "|", flush=True)
        doodles = load_quickdraw()
        words = doodles.split("doodles", "choose")
        learned = letters, doodles.split("doodles", "train")
        for name, model in choices(loaded(options.branches), learned):
            _print_row(name, model, held_out, options.tasks, words)
        return
    if options.weights:
        title, recipes = "from the same weights", outer_loops(options.outer)
    else:
        title, recipes = f"{options.episodes} episodes", ablations(options.episodes, options.outer)
    print(f"| {title} | " + " | ".join(map(str, SHAPES)) + " |")
    print("|---" * (len(SHAPES) + 1) + "|", flush=True)
    if options.weights:
        _print_row(
            "without further steps", load_pretrained(options.weights), held_out, options.tasks
        )
    for name, recipe in recipes.items():
        if options.only not in name:
            continue
        generator = torch.Generator().manual_seed(recipe.seed)
        if options.weights:
            model = load_pretrained(options.weights)
            model.inner = recipe.training.inner
        else:
            model = build_model(recipe.network, recipe.training.inner, generator)
        for _ in meta_train(model, data, recipe.training, generator):
            pass
        _print_row(name, model, held_out, options.tasks)


if __name__ == "__main__":
    main()
