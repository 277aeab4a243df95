"""Open MAML Sketchpad: ``python app.py``, or the entry point of a Space."""

from __future__ import annotations

import os

from maml.demo import LAUNCH, build_demo

demo = build_demo(os.environ.get("MAML_WEIGHTS") or None)

if __name__ == "__main__":
    demo.launch(**LAUNCH)
