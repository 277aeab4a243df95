"""Open MAML Sketchpad: ``python app.py``, or the entry point of a Space."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

# Gradio reads variables of its own as soon as it is imported: these are checked before.
from maml.sessions.scratch import ScratchFolder
from maml.sessions.settings import ServerSettings


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Say in one line why the app cannot start."""
    try:
        yield
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        sys.stderr.write(f"MAML Sketchpad cannot start: {text}\n")
        sys.exit(2)


with one_line():
    settings = ServerSettings.from_environment()
    scratch = ScratchFolder()
os.environ.setdefault("GRADIO_TEMP_DIR", str(scratch.path))

import torch  # noqa: E402

from maml.demo import build_demo  # noqa: E402
from maml.demo.start import serve  # noqa: E402

# One drawing is too little work to share: threads would only wait for each other, all the more
# while a training keeps the other cores busy.
torch.set_num_threads(1)

with one_line():
    demo = build_demo(settings)

if __name__ == "__main__":
    with one_line():
        serve(demo)
    scratch.remove()
    # Threads of libraries that still wait for something must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
