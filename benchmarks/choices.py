"""The choices behind the shipped weights, side by side: ``python benchmarks/choices.py``.

Trains the recipe `flagship` for a short while, then again with one thing changed at a time, and
prints what each gives on its held-out *background* alphabets; no test alphabet is touched.  Same
seed and same tasks in every row.  Short runs rank what speeds learning up better than what keeps a
long run from overfitting.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from maml import load_omniglot, meta_train
from maml.config import RECIPES, EpisodeShape, Recipe
from maml.evaluate import FeatureTable, evaluate_table
from maml.model import build_model
from maml.train import training_parts

SHAPES = (
    EpisodeShape(5, 1),
    EpisodeShape(5, 5),
    EpisodeShape(20, 1),
    EpisodeShape(20, 5),
    EpisodeShape(20, 1, within_alphabet=True),
)


def choices(episodes: int, outer: int) -> dict[str, Recipe]:
    """The recipe, and the recipe with one thing changed, by name."""
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

    first = outer // 10
    loop = replace(
        training,
        iterations=outer,
        epoch=outer,
        first_order_iterations=first,
        multi_step_iterations=3 * first,
    )
    return {
        "as shipped, pre-training alone": base,
        "without proxies": pretrained(proxies=0.0),
        "without dropout": pretrained(dropout=0.0),
        "without other hands": replace(base, training=replace(training, augment=False)),
        "32 ways, 8 drawings": pretrained(ways=32, drawings=8),
        "128 ways, 2 drawings": pretrained(ways=128, drawings=2),
        "one look": replace(base, network=replace(base.network, looks=1)),
        "half the channels": replace(base, network=replace(base.network, channels=32)),
        f"with {outer} outer steps": replace(base, training=loop),
        f"with {outer} first-order outer steps": replace(
            base, training=replace(loop, inner=replace(loop.inner, second_order=False))
        ),
        f"with {outer} outer steps, the head alone adapts": replace(
            base, network=replace(base.network, adaptable=0), training=loop
        ),
        f"with {outer} outer steps, the linear map adapts too": replace(
            base, network=replace(base.network, adaptable=2), training=loop
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=600, help="of pre-training, a row")
    parser.add_argument("--outer", type=int, default=60, help="outer steps, where there are any")
    parser.add_argument("--tasks", type=int, default=1000, help="of each evaluation")
    parser.add_argument("--data", help="folder of Omniglot, as for python -m maml train")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    data = load_omniglot(options.data)
    print(f"| {options.episodes} episodes | " + " | ".join(map(str, SHAPES)) + " |")
    print("|---" * (len(SHAPES) + 1) + "|", flush=True)
    for name, recipe in choices(options.episodes, options.outer).items():
        if options.only not in name:
            continue
        generator = torch.Generator().manual_seed(recipe.seed)
        model = build_model(recipe.network, recipe.training.inner, generator)
        for _ in meta_train(model, data, recipe.training, generator):
            pass
        table = FeatureTable(model, training_parts(data, recipe.training)[1])
        results = (evaluate_table(table, shape, options.tasks) for shape in SHAPES)
        figures = (f"{100 * result.accuracy:.2f}" for result in results)
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
