"""How many deliberate faults the tests notice: `python -m benchmarks.mutations maml.train ...`

Takes a seeded sample of single-point faults (`benchmarks/faults.py`) and puts them into a copy of
the checkout, one at a time.  For each, only those tests run that execute the faulty statement.
Running each test file under coverage, with the processes it starts, tells which these are;
`.mutations/` keeps that until the test file or the module changes.

Prints the share of faults that made a test fail, and every fault that did not.

Why not mutmut or cosmic-ray: mutmut takes no sample and leaves out code outside of functions;
cosmic-ray runs all tests for each fault, here minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.faults import Fault, faults

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".mutations"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
LAST = KEPT / "not-noticed.json"
MEMORY = 12 * 2**30
"""Bytes that a faulty program may take."""

COVERAGE = """
[run]
include = {copy}/maml/*, {copy}/app.py
parallel = true
data_file = {data}/.coverage
sigterm = true
context = ${{PYTEST_CURRENT_TEST-}}
disable_warnings = no-data-collected, module-not-measured, module-not-imported, no-sysmon-context
[report]
ignore_errors = true
"""

STARTUP = """
import os
import coverage

coverage.process_startup()
leave = os._exit

def leave_covered(status):
    if (current := coverage.Coverage.current()) is not None:
        current.stop()
        current.save()
    leave(status)

os._exit = leave_covered
"""
"""Of every process: the app and the workers end by `os._exit`, after which nothing is written."""

_BROKEN = 99
"""Exit status of a child that could not run pytest."""

Outcome = Literal["noticed", "timed out", "not noticed", "not run"]


# What runs what ----------------------------------------------------------------------------------


@dataclass
class Map:
    """Which tests execute which lines.

    Args:
        seconds: that each test took, under coverage; only tests that pass.
        lines: for each file, for each line, the tests that execute it.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)

    def tests(self, fault: Fault, sources: dict[str, bytes]) -> set[str]:
        """The tests that execute the statement of a fault, or speak of what it defines."""
        places = [(fault.path, line) for line in range(fault.first, fault.last + 1)]
        if fault.names:
            for path, source in sources.items():
                for number, text in enumerate(source.decode().splitlines(), 1):
                    if any(name in text for name in fault.names):
                        places.append((path, number))
        return set[str]().union(*(self.lines.get(path, {}).get(line, ()) for path, line in places))


def make_map(copy: Path, modules: set[str], only: Sequence[str]) -> Map:
    """Find out what the tests execute, by running those of which it is not known.

    Args:
        copy: of the checkout.
        modules: files of which it has to be known.
        only: names of test files; others are left out.  Empty for all.
    """
    KEPT.mkdir(exist_ok=True)
    KEPT.joinpath(".gitignore").write_text("*\n")
    whole = Map()
    for test in sorted((copy / "tests").glob("test_*.py")):
        if only and test.stem not in only:
            continue
        kept = KEPT / f"{test.stem}.json"
        told = json.loads(kept.read_text()) if kept.exists() else None
        wanted = {path: _digest(copy / path) for path in modules | {f"tests/{test.name}"}}
        if told is None or any(
            told["digests"].get(path, digest) != digest for path, digest in wanted.items()
        ):
            print(f"running {test.name} under coverage ...", flush=True)
            told = _run_covered(copy, test)
            kept.write_text(json.dumps(told))
        if told["failed"]:
            print(f"left out, since they fail as it is: {', '.join(told['failed'])}")
        whole.seconds |= told["seconds"]
        for path, lines in told["lines"].items():
            for line, tests in lines.items():
                known = [test for test in tests if test in told["seconds"]]
                whole.lines.setdefault(path, {}).setdefault(int(line), set()).update(known)
    return whole


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _run_covered(copy: Path, test: Path) -> dict[str, Any]:
    """Run one test file under coverage, together with the processes that it starts."""
    from coverage import Coverage

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        settings, report = data / "coveragerc", data / "report.json"
        settings.write_text(COVERAGE.format(copy=copy, data=data))
        data.joinpath("sitecustomize.py").write_text(STARTUP)
        environment = {
            **os.environ,
            "COVERAGE_PROCESS_START": str(settings),
            "MUTATIONS_REPORT": str(report),
            "PYTHONPATH": str(data),
        }
        options = ["-q", "-p", "no:cacheprovider", "-p", "benchmarks.mutations"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"tests/{test.name}"],
            cwd=copy, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if not report.exists():
            raise RuntimeError(f"{test.name} does not run:\n{done.stdout}{done.stderr}")
        outcomes = json.loads(report.read_text())
        coverage = Coverage(data_file=str(data / ".coverage"), config_file=str(settings))
        coverage.combine()
        found = coverage.get_data()
        lines: dict[str, dict[int, list[str]]] = {}
        for file in found.measured_files():
            path = str(Path(file).relative_to(copy))
            lines[path] = {
                line: _tests(contexts, list(outcomes["seconds"]))
                for line, contexts in found.contexts_by_lineno(file).items()
            }
        digests = {path: _digest(copy / path) for path in [*lines, f"tests/{test.name}"]}
    passed = {
        name: seconds
        for name, seconds in outcomes["seconds"].items()
        if name not in outcomes["failed"]
    }
    return {"digests": digests, "lines": lines, "seconds": passed, "failed": outcomes["failed"]}


def _tests(contexts: Sequence[str], tests: list[str]) -> list[str]:
    """The tests behind contexts.

    What ran in a fixture, or without a context while the file was imported, may matter to all tests
    of the file.
    """
    if any(not context or context.endswith(("(setup)", "(teardown)")) for context in contexts):
        return tests
    called = {context.rpartition(" (")[0] for context in contexts}
    return [test for test in tests if test in called]


# As a plugin of pytest in these first runs -------------------------------------------------------


def _switch(item: Any, when: str) -> None:
    from coverage import Coverage

    if (coverage := Coverage.current()) is not None:
        coverage.switch_context(f"{item.nodeid} ({when})")


def pytest_runtest_setup(item: Any) -> None:
    _switch(item, "setup")


def pytest_runtest_call(item: Any) -> None:
    _switch(item, "call")


def pytest_runtest_teardown(item: Any) -> None:
    _switch(item, "teardown")


SECONDS: Counter[str] = Counter()
FAILED: list[str] = []


def pytest_runtest_logreport(report: Any) -> None:
    if report.skipped:
        return
    if report.failed and report.nodeid not in FAILED:
        FAILED.append(report.nodeid)
    if report.when != "teardown":
        SECONDS[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    if path := os.environ.get("MUTATIONS_REPORT"):
        Path(path).write_text(json.dumps({"seconds": SECONDS, "failed": FAILED}))


# Faults, one at a time ---------------------------------------------------------------------------


def copy_checkout(folder: Path) -> Path:
    """A copy of the checkout's files, a repository as well: some tests ask for its commit."""
    copy = folder / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    author = ["-c", "user.name=Mutations", "-c", "user.email=mutations@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "As it is"]):
        subprocess.run(["git", *words], cwd=copy, check=True)
    return copy


def preload() -> None:
    """Import what takes long and is not tested, for every later child to start with."""
    import gradio
    import matplotlib.figure
    import pytest
    import scipy.ndimage
    import skimage.morphology
    import torch

    torch.set_num_threads(1)
    assert gradio and matplotlib and pytest and scipy and skimage


def run_tests(copy: Path, tests: Sequence[str], limit: float) -> tuple[Outcome, str]:
    """Run tests in a process of its own until one fails.

    Returns:
        What came of it, and the last lines that pytest printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        child = os.fork()
        if child == 0:
            _be_tested(copy, tests, Path(folder), log)
        ended, status, waited = 0, 0, 0.0
        looked = time.monotonic()
        while not ended and waited < limit:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.02)
            now = time.monotonic()
            waited += min(now - looked, 0.5)  # Time in which this process was stopped is not its.
            looked = now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # also what the tests have left running
        if not ended:
            os.waitpid(child, 0)
            return "timed out", ""
        said = log.read_text(errors="replace") if log.exists() else ""
    if os.waitstatus_to_exitcode(status) == _BROKEN:
        raise RuntimeError(f"The tests could not be run:\n{said}")
    return ("noticed" if status else "not noticed"), "\n".join(said.splitlines()[-3:])


def _be_tested(copy: Path, tests: Sequence[str], folder: Path, log: Path) -> None:
    code = _BROKEN
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        # What a faulty program keeps for later must not be found by anybody else.
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "maml-sketchpad"
        if cache.exists():
            shutil.copytree(cache, folder / "cache" / "maml-sketchpad")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.chdir(copy)
        sys.path[0] = str(copy)
        for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
            del sys.modules[name]
        # Plugins that are imported already could not be rewritten, which is a warning.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        code = int(pytest.main([*options, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def chosen(fault: Fault, tests: set[str], seconds: dict[str, float], budget: float) -> list[str]:
    """Tests file by file, as many as the budget (in seconds) allows.

    Those of the module's own test file come first, then the quicker ones.
    """
    own = f"tests/test_{Path(fault.path).stem}.py"
    taken, spent = set[str](), 0.0
    for name in sorted(tests, key=lambda name: (name.partition("::")[0] != own, seconds[name])):
        if spent + seconds[name] <= budget or not taken:
            taken.add(name)
            spent += seconds[name]
    return [name for name in seconds if name in taken]


# The command -------------------------------------------------------------------------------------


def _modules(names: Sequence[str]) -> list[str]:
    """Paths of modules; a package stands for all modules in it."""
    paths = []
    for name in names:
        path = Path(*name.split("."))
        if (ROOT / path).is_dir():
            found = sorted((ROOT / path).rglob("*.py"))
        else:
            found = [ROOT / path.with_suffix(".py")]
        for file in found:
            if not file.is_file():
                raise SystemExit(f"There is no module {name}.")
            paths.append(str(file.relative_to(ROOT)))
    return paths


def _sample(options: argparse.Namespace, paths: list[str]) -> Iterator[Fault]:
    again = set(json.loads(LAST.read_text())) if options.again else None
    for path in paths:
        found = faults(path, (ROOT / path).read_bytes())
        if again is not None:
            yield from (fault for fault in found if fault.key in again)
        elif options.fault:
            yield from (
                fault for fault in found if any(part in fault.key for part in options.fault)
            )
        else:
            # Each module draws by its own name: another module leaves its sample as it is.
            choose = random.Random(f"{options.seed} {path}")
            drawn = choose.sample(found, min(options.sample, len(found)))
            yield from sorted(drawn, key=lambda fault: fault.start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="+", help="maml.train, or maml.sessions for all of them")
    parser.add_argument("--sample", type=int, default=25, help="faults of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests for each fault")
    parser.add_argument("--tests", nargs="*", default=[], help="only these test files, by name")
    parser.add_argument("--again", action="store_true", help="only what was not noticed last time")
    parser.add_argument("--fault", nargs="*", help="only faults with this in their name")
    options = parser.parse_args()

    paths = _modules(options.modules)
    equivalent = {
        entry["fault"]: entry["because"]
        for entry in tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    }
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # Faults come and go within a second.
    for name in ("OMNIGLOT_DIR", "QUICKDRAW_DIR"):
        if name in os.environ:
            os.environ[name] = str(Path(os.environ[name]).resolve())
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = copy_checkout(Path(folder).resolve())
        sample = list(_sample(options, paths))
        known = make_map(copy, {fault.path for fault in sample}, options.tests)
        preload()
        outcomes = _run(copy, sample, known, equivalent, options.budget)
    KEPT.joinpath(LAST.name).write_text(
        json.dumps([fault.key for fault, out in outcomes if out in ("not noticed", "not run")])
    )
    _report(outcomes)


def _run(
    copy: Path, sample: list[Fault], known: Map, equivalent: dict[str, str], budget: float
) -> list[tuple[Fault, str]]:
    sources = {
        str(path.relative_to(copy)): path.read_bytes() for path in (copy / "maml").rglob("*.py")
    }
    plan = {
        fault: chosen(fault, known.tests(fault, sources), known.seconds, budget) for fault in sample
    }
    _check_without_fault(copy, plan, known)
    outcomes: list[tuple[Fault, str]] = []
    for number, fault in enumerate(sample, 1):
        source = sources[fault.path]
        where = f"[{number}/{len(sample)}] {fault.path}:{fault.line(source)}"
        if fault.key in equivalent:
            outcomes.append((fault, "equivalent"))
            print(f"{where} equivalent: {fault.key}\n    {equivalent[fault.key]}", flush=True)
            continue
        tests = plan[fault]
        outcome: Outcome = "not run"
        said, started = "", time.monotonic()
        if tests:
            limit = 30 + 4 * sum(known.seconds[test] for test in tests)
            (copy / fault.path).write_bytes(fault.apply(source))
            try:
                outcome, said = run_tests(copy, tests, limit)
            except RuntimeError as error:  # pytest itself failed, as it did not without the fault
                outcome, said = "noticed", str(error)
            finally:
                (copy / fault.path).write_bytes(source)
        outcomes.append((fault, outcome))
        print(f"{where} {outcome} ({len(tests)} tests, {time.monotonic() - started:.0f} s)", end="")
        print(f": {_failed(said)}" if outcome == "noticed" else "", flush=True)
        if outcome in ("not noticed", "not run"):
            print(f"    {fault.key}\n{_indented(fault.difference(source))}", flush=True)
    return outcomes


def _check_without_fault(copy: Path, plan: dict[Fault, list[str]], known: Map) -> None:
    """Leave out test files that fail without any fault: they would notice everything."""
    files: dict[str, dict[str, None]] = {}
    for test in (test for tests in plan.values() for test in tests):
        files.setdefault(test.partition("::")[0], {})[test] = None
    for file, tests in files.items():
        outcome, said = run_tests(
            copy, list(tests), 60 + 4 * sum(known.seconds[test] for test in tests)
        )
        if outcome != "not noticed":
            print(f"{file} is left out, it fails without a fault: {_failed(said)}", flush=True)
            for chosen_tests in plan.values():
                chosen_tests[:] = [test for test in chosen_tests if test not in tests]


def _failed(said: str) -> str:
    named = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return named[0].partition(" - ")[0] if named else " ".join(said.split())[-160:]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


_COLUMNS = ("timed out", "not noticed", "not run", "equivalent")


def _report(outcomes: list[tuple[Fault, str]]) -> None:
    titles = ["faults", "noticed", *_COLUMNS, "share"]
    print(f"\n{'':32}", *(f"{title:>12}" for title in titles))
    groups = [*dict.fromkeys(fault.path for fault, _ in outcomes), "all"]
    for group in groups:
        counts = Counter(out for fault, out in outcomes if group in ("all", fault.path))
        noticed = counts["noticed"] + counts["timed out"]
        judged = counts.total() - counts["equivalent"]
        share = f"{100 * noticed / judged:.0f} %" if judged else "-"
        numbers = [counts.total(), noticed, *(counts[out] for out in _COLUMNS)]
        print(f"{group:32}", *(f"{number:>12}" for number in [*numbers, share]))


if __name__ == "__main__":
    main()
