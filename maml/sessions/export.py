"""The adapted network to take away."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from maml.checkpoint import save_model
from maml.model import MetaNetwork
from maml.sessions.document import Document
from maml.sessions.draw_session import DrawSession, require_ways

RUN_PY = '''"""Name drawings with this folder's adapted network: python run.py picture.png ..."""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open

import maml

HERE = Path(__file__).parent
model = maml.load_pretrained(HERE / "base.safetensors")  # where adaptation started
with safe_open(HERE / "adapted.safetensors", "pt") as file:
    names = json.loads(file.metadata()["names"])
    shots = float(file.metadata()["shots"])
    tensors = {name: file.get_tensor(name) for name in file.keys()}
support = tensors.pop("support")
network, _ = model.task_network(len(names))


def logits(ink):
    return torch.func.functional_call(network, tensors, model.features(ink))


framing = model.provenance.get("framing", "fit")
pictures = [maml.image_to_ink(Image.open(path), framing) for path in sys.argv[1:]]
with torch.no_grad():
    if model.normalisation == "batch":  # its statistics are those of the examples
        network.train()
        logits(support)
    network.eval()
    for path, picture in zip(sys.argv[1:], pictures):
        ink = torch.from_numpy(picture)[None, None]
        shares = (logits(ink) / model.temperature(len(names), shots)).softmax(-1)[0]
        print(json.dumps({"file": path, "name": names[int(shares.argmax())],
                          "probabilities": dict(zip(names, shares.tolist()))}, ensure_ascii=False))
'''
"""Runs what `pack_learner` packs."""


def pack_learner(document: Document, session: DrawSession, model: MetaNetwork) -> bytes:
    """Pack the adapted network so that it runs elsewhere.

    Returns:
        A zip of `adapted.safetensors` (the adapted tensors and the examples; the symbols' names in
        its metadata), `base.safetensors` with its `.json` (the network before adaptation) and
        `run.py`.

    Raises:
        Refusal: if fewer than two symbols have drawings, or not as many as the network serves.
    """
    symbols, _ = session.sound(document, model)
    require_ways(symbols, model)
    # Adapted anew: a learner that the session remembers may have the names of before a renaming.
    learner = session.adapted(model, symbols, document.steps)
    drawings = [drawing for symbol in symbols for drawing in symbol.drawings]
    images = torch.from_numpy(np.stack([session.ink(model, one) for one in drawings]))[:, None]
    names = list(learner.names)
    metadata = {
        "names": json.dumps(names, ensure_ascii=False),
        "shots": str(len(drawings) / len(names)),
        "steps": str(learner.steps),
    }
    adapted = save({**learner.state_dict(), "support": images}, metadata)
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        base = Path(folder) / "base.safetensors"
        save_model(base, model, model.provenance)
        archive.write(base, base.name)
        archive.write(base.with_suffix(".json"), "base.json")
        archive.writestr("adapted.safetensors", adapted)
        archive.writestr("run.py", RUN_PY)
    return packed.getvalue()
