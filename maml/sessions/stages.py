"""The stages of a training, and what there is to say about each as it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maml.config import MetaTraining


@dataclass(frozen=True)
class StageSpan:
    """A stage of a training.

    Args:
        name: of the stage.
        last: its last step, counted over all stages.
    """

    name: Literal["pretraining", "meta"]
    last: int


def stages_of(training: MetaTraining) -> tuple[StageSpan, ...]:
    """The stages that a training has, in their order."""
    before, total = training.pretraining_episodes, training.total
    spans = (StageSpan("pretraining", before), StageSpan("meta", total))
    return tuple(
        span for span in spans if span.last > (0 if span.name == "pretraining" else before)
    )


def caption_of(training: MetaTraining, iteration: int) -> str:
    """What a class may be told now: the key of a sentence of the page.

    Args:
        training: what is done.
        iteration: gradient steps taken.
    """
    outer = iteration - training.pretraining_episodes
    if iteration == training.total:
        return "caption_finished"
    if outer < 0:
        return "caption_pretraining"
    if iteration == 0:
        return "caption_untrained"
    if outer < training.first_order_iterations:
        return "caption_first_order"
    if outer < training.multi_step_iterations:
        return "caption_multi_step"
    if training.cosine and outer >= 2 * training.iterations / 3:
        return "caption_decay"
    if outer < training.iterations / 3 and training.algorithm not in ("reptile", "prototypes"):
        return "caption_start_one" if training.inner.steps == 1 else "caption_start"
    return f"caption_{training.algorithm}"
