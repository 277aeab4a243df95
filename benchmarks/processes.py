"""What several processes bring: `python -m benchmarks.processes`.

Trains the same recipe with one process and with several (`torchrun`), one thread each, and with
`higher` as the notebook does, and prints the median seconds of an outer step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

WARM_UP = 2
"""Steps that do not count."""


def seconds_a_step(options: argparse.Namespace, processes: int, engine: str) -> float:
    """Median time between two outer steps, everything included."""
    with tempfile.TemporaryDirectory() as folder:
        start = [sys.executable]
        if processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone"]
            start += [f"--nproc-per-node={processes}"]
        words = ["-m", "maml", "train", "--recipe", options.recipe, "--engine", engine]
        words += ["--iterations", str(options.steps), "--set", f"meta_batch={options.meta_batch}"]
        words += ["--set", "evaluation_tasks=10", "--threads", "1", "--out", f"{folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*start, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    times = [record["time"] for record in map(json.loads, lines) if record["mode"] == "train"]
    return median(after - before for before, after in pairwise(times[WARM_UP:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="notebook")
    parser.add_argument("--meta-batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    reference = seconds_a_step(options, 1, "higher")
    print(f"higher, one process: {reference:.3f} s an outer step", flush=True)
    for processes in (1, options.processes):
        seconds = seconds_a_step(options, processes, "batched")
        print(
            f"batched, {processes} process{'es' if processes > 1 else ''}: {seconds:.3f} s, "
            f"{reference / seconds:.2f} times as fast",
            flush=True,
        )


if __name__ == "__main__":
    main()
