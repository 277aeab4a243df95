"""The command line with recipes that end soon, on smaller data: see test_runs.py.

Usage: run_program.py ARGUMENTS OF maml
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import maml.__main__ as program
import maml.train
from maml.calibrate import calibrate
from maml.config import EpisodeShape, NetworkSettings, Pretraining, Recipe
from maml.data.synthetic import generate_alphabets
from maml.recipes import RECIPES

small_alphabets = functools.cache(functools.partial(generate_alphabets, 4, 6, 10))
brief_calibration = functools.partial(calibrate, rounds=1)


def _notebook() -> Recipe:
    recipe = RECIPES["notebook"]
    training = replace(recipe.training, iterations=9, epoch=4, evaluation_tasks=2, meta_batch=8)
    return replace(recipe, training=training)


def _flagship() -> Recipe:
    recipe = RECIPES["flagship"]
    training = replace(
        recipe.training,
        iterations=9,
        epoch=4,
        evaluation_tasks=2,
        validation=1,
        evaluation=EpisodeShape(3, 1, 2),
        shapes=(EpisodeShape(4, 1, 2), EpisodeShape(3, 2, 2, within_alphabet=True)),
        first_order_iterations=2,
        multi_step_iterations=4,
        pretraining=Pretraining(5, ways=5, drawings=3, precision="bfloat16"),
    )
    return replace(recipe, network=NetworkSettings(channels=4), training=training)


SMALL = {"notebook": _notebook(), "flagship": _flagship()}

if __name__ == "__main__":
    RECIPES.update(SMALL)
    vars(maml.train)["calibrate"] = brief_calibration
    vars(program)["load_generated"] = small_alphabets
    sys.exit(program.main())
