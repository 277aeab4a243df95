"""MAML on handwritten symbols: draw a few, adapt in a few gradient steps, name the rest."""

from maml.adapt import AdaptationStep, AdaptedLearner, Prediction, adapt
from maml.checkpoint import CheckpointError, load_pretrained
from maml.config import EpisodeShape, InnerLoop, MetaTraining
from maml.data.characters import CharacterSet
from maml.data.episodes import SupportSet
from maml.data.omniglot import load_omniglot
from maml.data.quickdraw import load_quickdraw
from maml.drawing import image_to_ink, strokes_to_image
from maml.evaluate import EvaluationResult, evaluate
from maml.train import MetaStep, meta_train

__version__ = "0.1.0"

__all__ = [
    "AdaptationStep",
    "AdaptedLearner",
    "CharacterSet",
    "CheckpointError",
    "EpisodeShape",
    "EvaluationResult",
    "InnerLoop",
    "MetaStep",
    "MetaTraining",
    "Prediction",
    "SupportSet",
    "adapt",
    "evaluate",
    "image_to_ink",
    "load_omniglot",
    "load_pretrained",
    "load_quickdraw",
    "meta_train",
    "strokes_to_image",
]
