"""Learn symbols from a folder of pictures, then name other pictures.

    python examples/adapt_folder.py SYMBOLS QUERY [QUERY ...] [--save LEARNER.safetensors]

SYMBOLS holds one folder of pictures for each symbol, named after it; each QUERY is a picture.
A learner that was saved answers elsewhere: maml.AdaptedLearner.load("LEARNER.safetensors").
"""

from __future__ import annotations

import argparse

import maml


def main() -> None:
    parser = argparse.ArgumentParser(description="Name pictures of symbols after a few examples.")
    parser.add_argument("symbols", help="folder that holds one folder of pictures for each symbol")
    parser.add_argument("queries", nargs="+", help="pictures to name")
    parser.add_argument("--save", help="write the adapted learner to this file")
    options = parser.parse_args()

    model = maml.load_pretrained()
    support = maml.read_support(options.symbols, model.framing)
    learner = maml.adapt(model, support)
    if options.save:
        learner.save(options.save)

    inks = [maml.read_picture(path, model.framing) for path in options.queries]
    prediction = learner.predict(inks)
    names = (*prediction.names, "none of these")
    for path, name, row in zip(
        options.queries, prediction.winners, prediction.shares.tolist(), strict=True
    ):
        shares = ", ".join(
            f"{symbol} {100 * share:.0f} %" for symbol, share in zip(names, row, strict=True)
        )
        print(f"{path}: {name or 'none of these'} ({shares})")


if __name__ == "__main__":
    main()
