"""The adapted network to take away: a zip that runs by itself."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from maml.model import MetaNetwork
from maml.sessions.document import Document
from maml.sessions.draw_session import ANY_INK, FREELY, DrawSession, InkBudget, require_ways
from maml.sessions.refusal import Refusal

_REQUIREMENTS = (
    "torch",
    "higher",
    "numpy",
    "pillow",
    "scikit-image",
    "scipy",
    "safetensors",
    "pooch",
    "tqdm",
)
"""What the library needs without the app, the plots and the Hub."""

_LEFT_OUT = ("demo", "sessions", "weights", "__pycache__")
"""Folders of the package that the program does without."""

_README = """\
# An adapted network

This network tells {ways} symbols apart: {names}. It was adapted to {shots} drawings in {steps}
gradient steps with MAML Sketchpad, whose library lies in `maml/`.

Install what it needs (Python 3.11 or later):

    python -m pip install -r requirements.txt

Ask it about pictures, dark lines on a light ground or the other way round:

    python run.py picture.png another.jpg

Each picture gives one line of JSON, the answer that the page would give. `"name": null` means none
of these symbols.

| file | content |
|---|---|
| `run.py` | the program: a few lines on `maml.AdaptedLearner` |
| `adapted.safetensors` | the adapted network, with the names of the symbols |
| `requirements.txt` | the packages that it runs on |
| `maml/`, `LICENSE` | the library and its licence |
"""


def pack_learner(
    document: Document,
    session: DrawSession,
    model: MetaNetwork,
    *,
    budget: InkBudget = ANY_INK,
    arithmetic: AbstractContextManager[object] = FREELY,
) -> bytes:
    """Pack the adapted network so that it runs elsewhere.

    `budget` and `arithmetic` are as for `maml.sessions.answers.answer`.

    Returns:
        A zip of `adapted.safetensors`, as `AdaptedLearner.save` writes it, the program `run.py`,
        the library, the packages it needs as `requirements.txt`, and a `README.md`.

    Raises:
        Refusal: if fewer than two symbols have drawings, or not as many as the network serves, or
            if the adapted network holds values that are not finite.
    """
    symbols, _, _ = session.sound(document, model, budget)
    require_ways(symbols, model)
    # Adapted anew: a learner that the session remembers may have the names of before a renaming.
    with arithmetic:
        learner = session.adapted(model, symbols, document.steps)
    package = resources.files("maml")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapted.safetensors"
        try:
            learner.save(path)
        except ValueError as error:
            raise Refusal("no_finite_answer") from error
        adapted = path.read_bytes()
    texts = {
        "run.py": (package / "sessions" / "run_template.py").read_text(encoding="utf-8"),
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
        "LICENSE": _licence(package),
        "README.md": _README.format(
            ways=len(symbols),
            names=", ".join(symbol.name for symbol in symbols),
            shots=sum(len(symbol.drawings) for symbol in symbols),
            steps=learner.steps,
        ),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("adapted.safetensors", adapted, zipfile.ZIP_STORED)
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, module in _modules(package, "maml"):
            archive.writestr(name, module.read_text(encoding="utf-8"))
    return packed.getvalue()


def _modules(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{name}/{entry.name}"
        if entry.is_file() and entry.name.endswith(".py"):
            yield path, entry
        elif entry.is_dir() and entry.name not in _LEFT_OUT:
            yield from _modules(entry, path)


def _licence(package: Traversable) -> str:
    checkout = Path(str(package)).parent / "LICENSE"
    if checkout.exists():
        return checkout.read_text(encoding="utf-8")
    return metadata.distribution("maml-sketchpad").read_text("licenses/LICENSE") or ""


def _requirements() -> Iterator[str]:
    """The releases that answer here, or later ones; local labels such as "+cpu" are dropped."""
    for name in _REQUIREMENTS:
        yield f"{name}>={metadata.version(name).partition('+')[0]}"
