"""The algorithms of recipe `live`, compared: ``python -m benchmarks.algorithms``.

Trains the network of the recipe from chance with each algorithm of `maml.algorithms` and several
seeds, at a constant outer rate, and measures it on evaluation alphabets, one query at a time: after
as many outer steps for all, and after as much processor time for all (drawing of tasks included,
evaluation left out).  Beside each figure stands the nearest normalised class mean on the same body.
An interval is the half width of the 95 % confidence interval, over tasks or over seeds, whichever
is wider.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import get_args

import torch

from maml import load_omniglot, meta_train
from maml.config import Algorithm, EpisodeShape, require_whole
from maml.data.characters import CharacterSet
from maml.evaluate import EvaluationResult, evaluate
from maml.networks import build_model
from maml.recipes import live
from maml.train import MetaStep

SHAPES = (EpisodeShape(5, 1, 5), EpisodeShape(20, 1, 5))


@dataclass(frozen=True)
class Row:
    """One algorithm at one mark, over all seeds; accuracies and intervals in percent.

    Args:
        algorithm: its name.
        mark: "steps" or "minutes".
        steps: outer steps, mean over seeds.
        seconds: of processor time, mean over seeds.
        accuracies: by shape: accuracy, half width of its interval, and accuracy of the normalised
            class means.
    """

    algorithm: Algorithm
    mark: str
    steps: float
    seconds: float
    accuracies: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class _Measured:
    steps: int
    seconds: float
    results: tuple[EvaluationResult, ...]


def trained(
    algorithm: Algorithm, seed: int, data: CharacterSet, steps: int, minutes: float, tasks: int
) -> dict[str, _Measured]:
    """Train once, and measure at both marks."""
    recipe = live(algorithm)
    training = replace(
        recipe.training,
        iterations=10_000_000,
        epoch=10_000_000,
        cosine=False,
        evaluate_untrained=False,
    )
    generator = torch.Generator().manual_seed(seed)
    model = build_model(recipe.network, training.inner, generator)
    test = data.split("alphabets", "test")
    measured: dict[str, _Measured] = {}
    spent, since = 0.0, time.process_time()
    for record in meta_train(model, data, training, generator):
        assert isinstance(record, MetaStep)
        spent += time.process_time() - since
        marks = {"steps": record.iteration >= steps, "minutes": spent >= 60 * minutes}
        for mark, reached in marks.items():
            if reached and mark not in measured:
                results = tuple(evaluate(model, test, shape, tasks, seed=1) for shape in SHAPES)
                measured[mark] = _Measured(record.iteration, spent, results)
        if len(measured) == len(marks):
            break
        since = time.process_time()
    return measured


def row(algorithm: Algorithm, mark: str, runs: list[_Measured]) -> Row:
    """The mean of runs that differ in their seed."""
    count = len(runs)
    accuracies = {}
    for number, shape in enumerate(SHAPES):
        results = [run.results[number] for run in runs]
        mean = sum(result.accuracy for result in results) / count
        within = math.sqrt(sum(result.interval**2 for result in results)) / count
        among = sum((result.accuracy - mean) ** 2 for result in results)
        spread = 1.96 * math.sqrt(among / max(1, count - 1) / count)
        prototypes = sum(result.prototypes or 0.0 for result in results) / count
        interval = max(within, spread)
        accuracies[str(shape)] = (100 * mean, 100 * interval, 100 * prototypes)
    return Row(
        algorithm,
        mark,
        sum(run.steps for run in runs) / count,
        sum(run.seconds for run in runs) / count,
        accuracies,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="outer steps, the same for all")
    parser.add_argument(
        "--minutes", type=float, default=0.5, help="processor time, the same for all"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=300, help="evaluation tasks of each shape")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    require_whole("steps", options.steps, 1, 100_000)
    require_whole("seeds", options.seeds, 1, 20)
    require_whole("tasks", options.tasks, 2, 10_000)
    if not 0 < options.minutes <= 60:
        parser.error(f"--minutes must be above 0 and at most 60; got {options.minutes}")
    torch.set_num_threads(1)
    data = load_omniglot()
    if not options.json:
        print("| at equal | algorithm | outer steps | seconds | 5-way 1-shot | 20-way 1-shot |")
        print("|---|---|---|---|---|---|")
    for algorithm in get_args(Algorithm):
        runs = [
            trained(algorithm, seed, data, options.steps, options.minutes, options.tasks)
            for seed in range(options.seeds)
        ]
        for mark in ("steps", "minutes"):
            found = row(algorithm, mark, [run[mark] for run in runs])
            if options.json:
                print(json.dumps(asdict(found)), flush=True)
                continue
            shown = " | ".join(
                f"{accuracy:.1f} +- {interval:.1f} ({prototypes:.1f})"
                for accuracy, interval, prototypes in found.accuracies.values()
            )
            print(
                f"| {mark} | `{algorithm}` | {found.steps:.0f} | {found.seconds:.0f} | {shown} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
