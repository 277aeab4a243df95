"""The named training recipes."""

from __future__ import annotations

from maml.config import (
    Algorithm,
    EpisodeShape,
    InnerLoop,
    MetaTraining,
    NetworkSettings,
    Pretraining,
    Recipe,
)

_SEED = 1227

_ADAPTATION: dict[Algorithm, tuple[int, InnerLoop, float]] = {
    # The head's rows all start as one vector, so the first step leaves the body where it is: with
    # one step MAML is ANIL.
    "maml": (4, InnerLoop(2, 2, rate=3.0, learned_rates=True), 6e-3),
    "fomaml": (4, InnerLoop(2, 2, rate=3.0, learned_rates=True, second_order=False), 6e-3),
    "anil": (0, InnerLoop(1, 1, rate=10.0, learned_rates=True), 6e-3),
    "reptile": (4, InnerLoop(5, 5, rate=3.0, second_order=False), 1.0),
    "prototypes": (0, InnerLoop(1, 1, rate=10.0, learned_rates=True, second_order=False), 6e-3),
}
"""Of recipe `live`: adaptable stages, inner loop and outer rate, chosen on held-out background
alphabets."""


def live(algorithm: Algorithm = "anil") -> Recipe:
    """The recipe `live` with one of the algorithms of `maml.algorithms`.

    Everything else stays the same, so that the algorithms can be compared.
    """
    adaptable, inner, outer_rate = _ADAPTATION[algorithm]
    return Recipe(
        name="live",
        summary="see it learn: from chance, through the outer loop alone, in two minutes",
        framing="fit",
        network=NetworkSettings("live", channels=32, adaptable=adaptable),
        training=MetaTraining(
            shapes=(EpisodeShape(5, 1, 3), EpisodeShape(20, 1, 3), EpisodeShape(5, 5, 3)),
            inner=inner,
            algorithm=algorithm,
            meta_batch=8,
            balanced=True,
            iterations=4200,
            epoch=100,
            outer_rate=outer_rate,
            cosine=True,
            augment=True,
            split="alphabets",
            evaluation=EpisodeShape(5, 1, 5),
            evaluation_tasks=80,
            further_evaluations=(EpisodeShape(20, 1, 3),),
            final_evaluation_tasks=500,
            evaluate_untrained=True,
        ),
        seed=0,
    )


DEFAULT_RECIPE = "live"
"""What the command line and the page train unless told otherwise."""

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
            summary="the first branch of the shipped weights: pre-training, then MAML",
            framing="fit",
            network=NetworkSettings("sketch", channels=64, test_time_views=3, head="cosine"),
            training=MetaTraining(
                shapes=(
                    EpisodeShape(5, 1, 5),
                    EpisodeShape(5, 5, 5),
                    EpisodeShape(20, 1, 3),
                    EpisodeShape(20, 5, 3),
                    EpisodeShape(20, 1, 3, within_alphabet=True),
                    EpisodeShape(20, 5, 3, within_alphabet=True),
                ),
                inner=InnerLoop(steps=5, evaluation_steps=5, rate=0.1, learned_rates=True),
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
        live(),
    )
}
"""Recipes by name."""
