"""Which containers of the app grow with every round of work: ``python -m benchmarks.containers``.

After Gradio's own leak tests: the app tells on a signal how long each of its dicts, lists, sets and
queues is.  People come, draw, export, check and leave, in three equal rounds; a container that is
longer after the second round than after the first, and after the third than after the second, by
what a leak for each page would leave, has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from pathlib import Path

from benchmarks.browser import free_port, start_app, stop_app
from benchmarks.soak import Soak
from benchmarks.verdict import end_with

_PROGRAM = """
import collections, gc, itertools, json, os, runpy, signal

KINDS = (dict, list, set, collections.deque)

def tell(number, frame):
    gc.unfreeze()  # what stood there at the start may grow as well
    gc.collect()
    sizes = {}
    for one in gc.get_objects():
        if issubclass(type(one), KINDS):
            length = len(one)
            hint = ""
            if 10 < length < 100_000 and issubclass(type(one), dict):
                hint = " ".join(str(key)[:30] for key in itertools.islice(dict.keys(one), 3))
            sizes[id(one)] = [type(one).__name__, length, hint]
    with open(PATH + ".new", "w") as file:
        json.dump(sizes, file)
    os.replace(PATH + ".new", PATH)

PATH = os.environ["CONTAINERS"]
signal.signal(signal.SIGUSR1, tell)
runpy.run_path("app.py", run_name="__main__")
"""

Sizes = dict[str, tuple[str, int, str]]


def grown(rounds: list[Sizes], least: int) -> list[str]:
    """The containers that every round has made longer, by `least` at least each."""
    first, second, third = rounds
    found = []
    for key, (kind, length, hint) in third.items():
        if key in first and key in second:
            before, between = first[key][1], second[key][1]
            if between - before >= least and length - between >= least:
                found.append(f"{kind} of {before}, {between}, {length}: {hint}")
    return found


def run(pages: int) -> tuple[str, list[str]]:
    """A summary, and the containers that have grown.

    Args:
        pages: of each round.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        told = Path(name) / "sizes.json"
        os.environ["CONTAINERS"] = str(told)
        try:
            app = start_app(Path(name) / "app.log", port, ("-c", _PROGRAM))
        finally:
            del os.environ["CONTAINERS"]
        rounds: list[Sizes] = []
        try:
            for number in range(3):
                soak = Soak(port, seed=number)
                asyncio.run(soak.pages(pages))
                time.sleep(0.5)
                told.unlink(missing_ok=True)
                app.send_signal(signal.SIGUSR1)
                deadline = time.monotonic() + 60
                while not told.exists() and time.monotonic() < deadline:
                    time.sleep(0.1)
                rounds.append(json.loads(told.read_text()))
        finally:
            stop_app(app)
    first, second, third = map(len, rounds)
    counts = f"{first}, {second}, {third}"
    longer = grown(rounds, max(3, pages // 3))
    if min(third - second, second - first) > 20 * pages:
        longer.append(f"the number of containers: {counts}")
    return f"3 rounds of {pages} pages; containers after each: {counts}", longer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="?", type=int, default=100)
    summary, longer = run(parser.parse_args().pages)
    print(summary)
    end_with(longer, "GROWN")


if __name__ == "__main__":
    main()
