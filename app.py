"""Open MAML Sketchpad: ``python app.py``, or the entry point of a Space."""

from __future__ import annotations

import os

import torch

from maml.demo import build_demo

# One drawing is too little work to share: threads would only wait for each other, all the more
# while a training keeps the other cores busy.
torch.set_num_threads(1)

demo = build_demo(os.environ.get("MAML_WEIGHTS") or None)

if __name__ == "__main__":
    demo.launch()
