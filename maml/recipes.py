"""The named training recipes."""

from __future__ import annotations

from maml.config import EpisodeShape, InnerLoop, MetaTraining, NetworkSettings, Pretraining, Recipe

_SEED = 1227

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="notebook",
            summary="the original notebook: 5-way 3-shot, second order, query-batch statistics",
            framing="frame",
            network=NetworkSettings("notebook", channels=16, ways=5),
            training=MetaTraining(
                shapes=(EpisodeShape(5, 3, 6),),
                inner=InnerLoop(steps=3, evaluation_steps=5, rate=0.1, engine="higher"),
                meta_batch=4,
                iterations=3000,
                epoch=300,
                outer_rate=1e-3,
                split="notebook",
                evaluation=EpisodeShape(5, 3, 6),
                evaluation_tasks=420,
                transductive=True,
            ),
            seed=_SEED,
        ),
        Recipe(
            name="flagship",
            summary="the shipped weights: metric pre-training, then MAML with learned rates",
            framing="fit",
            network=NetworkSettings("sketch", channels=64, test_time_views=3),
            training=MetaTraining(
                shapes=(
                    EpisodeShape(5, 1, 5),
                    EpisodeShape(5, 5, 5),
                    EpisodeShape(20, 1, 3),
                    EpisodeShape(20, 5, 3),
                    EpisodeShape(20, 1, 3, within_alphabet=True),
                    EpisodeShape(20, 5, 3, within_alphabet=True),
                ),
                inner=InnerLoop(steps=5, evaluation_steps=5, rate=3.0, learned_rates=True),
                meta_batch=4,
                iterations=500,
                epoch=250,
                outer_rate=3e-5,
                cosine=True,
                first_order_iterations=100,
                multi_step_iterations=200,
                pretraining=Pretraining(
                    episodes=36000,
                    ways=64,
                    drawings=4,
                    proxies=1.0,
                    dropout=0.2,
                    precision="bfloat16",
                ),
                augment=True,
                split="alphabets",
                validation=4,
                evaluation=EpisodeShape(20, 1, 5, within_alphabet=True),
                evaluation_tasks=500,
            ),
            seed=_SEED,
        ),
        Recipe(
            name="quick",
            summary="see it learn: past 90 % (5-way, one query at a time) within two minutes",
            framing="fit",
            network=NetworkSettings("sketch", channels=32),
            training=MetaTraining(
                shapes=(EpisodeShape(5, 1, 5),),
                inner=InnerLoop(steps=5, evaluation_steps=5, rate=3.0, learned_rates=True),
                meta_batch=4,
                iterations=600,
                epoch=100,
                outer_rate=3e-4,
                cosine=True,
                pretraining=Pretraining(episodes=250, ways=20, drawings=4),
                augment=True,
                split="alphabets",
                evaluation=EpisodeShape(5, 1, 5),
                evaluation_tasks=100,
            ),
            seed=_SEED,
        ),
    )
}
"""Recipes by name."""
