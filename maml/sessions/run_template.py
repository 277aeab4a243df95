"""Names pictures with the adapted network in this folder.

    python run.py picture.png ...

Prints one line of JSON for each picture: "name" is the symbol, or null for none of them;
"shares" are those of each symbol, in the order of "probabilities", and, last, of none of them: they
sum to 1, and the largest gives the name.  "probabilities" are those among the symbols; "unknown"
says how much speaks for none of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

import maml


def main(paths: list[str]) -> int:
    if not paths or {"-h", "--help"} & set(paths):
        print(__doc__)
        return 0 if paths else 2
    learner = maml.AdaptedLearner.load(Path(__file__).with_name("adapted.safetensors"))
    status = 0
    for path in paths:
        try:
            ink = maml.image_to_ink(Image.open(path), learner.model.framing)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
            continue
        answer = learner.predict(ink[None])
        record = {
            "file": path,
            "name": answer.winners[0],
            "probabilities": dict(zip(answer.names, answer.probabilities[0].tolist(), strict=True)),
            "unknown": answer.unknown.item(),
            "shares": answer.shares[0].tolist(),
        }
        print(json.dumps(record, ensure_ascii=False))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
