"""MAML on handwritten symbols: draw a few, adapt in a few gradient steps, name the rest."""

from maml.adapt import AdaptationStep, AdaptedLearner, adapt
from maml.checkpoint import CheckpointError, load_model, load_pretrained, save_model
from maml.config import (
    EpisodeShape,
    InnerLoop,
    MetaTraining,
    NetworkSettings,
    Pretraining,
    Recipe,
)
from maml.data.characters import CharacterSet
from maml.data.episodes import Episode, EpisodeSampler, SupportSet
from maml.data.omniglot import load_omniglot
from maml.data.pictures import read_picture, read_support
from maml.data.quickdraw import load_quickdraw
from maml.data.synthetic import generate_alphabets
from maml.drawing import image_to_ink, strokes_to_image
from maml.evaluate import EvaluationResult, evaluate
from maml.model import MetaNetwork
from maml.modules import from_module
from maml.networks import build_model
from maml.prediction import Prediction
from maml.recipes import RECIPES
from maml.runs import TrainingRun
from maml.train import MetaStep, meta_train

__version__ = "1.0.0"

__all__ = [
    "RECIPES",
    "AdaptationStep",
    "AdaptedLearner",
    "CharacterSet",
    "CheckpointError",
    "Episode",
    "EpisodeSampler",
    "EpisodeShape",
    "EvaluationResult",
    "InnerLoop",
    "MetaNetwork",
    "MetaStep",
    "MetaTraining",
    "NetworkSettings",
    "Prediction",
    "Pretraining",
    "Recipe",
    "SupportSet",
    "TrainingRun",
    "adapt",
    "build_model",
    "evaluate",
    "from_module",
    "generate_alphabets",
    "image_to_ink",
    "load_model",
    "load_omniglot",
    "load_pretrained",
    "load_quickdraw",
    "meta_train",
    "read_picture",
    "read_support",
    "save_model",
    "strokes_to_image",
]
