"""The walls of the house: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("maml.config", "maml.plain", "maml.recipes"),
    (
        "maml.drawing",
        "maml.batched",
        "maml.model",
        "maml.embedding",
        "maml.networks",
        "maml.data",
        "maml.hub",
        "maml.parallel",
    ),
    ("maml.checkpoint", "maml.learner_file", "maml.modules"),
    ("maml.inner_loop",),
    ("maml.adapt", "maml.prediction"),
    (
        "maml.algorithms",
        "maml.calibrate",
        "maml.evaluate",
        "maml.outer_loop",
        "maml.plots",
        "maml.pretraining",
        "maml.train",
    ),
    ("maml.runs", "maml.trackers", "maml.bench", "maml.bench_training", "maml.suite"),
    ("maml.sessions",),
    ("maml.demo",),
    ("maml.arguments",),
    ("maml.__main__", "app"),
)
"""From the ground up: a module imports from its own layer or from lower ones."""


EXPORTED = ("maml.sessions.run_template",)
"""A program that goes out with an exported network: it prints, and uses the public names."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path))
    for path in [*sorted((ROOT / "maml").rglob("*.py")), *ROOT.glob("app.py")]
}
LIBRARY = [name for name in TREES if not name.startswith(("maml.demo", "app"))]


def imports(module: str) -> Iterator[str]:
    """Full names of everything a module imports, wherever in its text."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: import by the full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in TREES else str(node.module)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def importers(package: str) -> set[str]:
    return {name for name in TREES if any(within(found, package) for found in imports(name))}


@functools.cache
def calls() -> list[tuple[str, ast.Call, str]]:
    """Every call: its module, its node and the text of what is called."""
    return [
        (module, node, ast.unparse(node.func))
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def callers(*functions: str) -> set[str]:
    return {
        f"{module}, line {node.lineno}: {name}"
        for module, node, name in calls()
        if name in functions
    }


def test_only_the_demo_imports_gradio() -> None:
    assert {name for name in importers("gradio") if not within(name, "maml.demo")} <= {"app"}


def test_only_plots_imports_matplotlib() -> None:
    assert importers("matplotlib") == {"maml.plots"}


def test_only_the_command_line_parses_arguments_and_prints() -> None:
    for parser in ("argparse", "optparse", "click", "typer"):
        assert importers(parser) <= {"maml.__main__", "maml.arguments"}
    programs = ("maml.__main__", *EXPORTED)
    assert {place for place in callers("print") if not place.startswith(programs)} == set()


def test_nothing_is_unpickled_or_evaluated() -> None:
    for module in ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"):
        assert importers(module) == set()
    assert callers("eval", "exec", "compile", "torch.load", "torch.save", "__import__") == set()
    for module, node, name in calls():
        if name in ("np.load", "numpy.load"):
            allowed = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert allowed.get("allow_pickle") == "False", f"{module}, line {node.lineno}"


def test_the_global_seed_is_left_alone() -> None:
    assert callers("np.random.seed", "numpy.random.seed", "random.seed", "torch.seed") == set()
    for module, tree in TREES.items():
        # Layers of torch take their first parameters from the global generator only.  A fork of it
        # may be seeded, since it is put back.
        forked = {
            call
            for block in ast.walk(tree)
            if isinstance(block, ast.With) and "fork_rng" in ast.unparse(block.items[0])
            for call in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.manual_seed":
                assert node in forked, f"{module}, line {node.lineno} sets the global seed"


def layer(module: str) -> int:
    levels = [
        level
        for level, packages in enumerate(LAYERS)
        if any(within(module, package) for package in packages)
    ]
    assert levels, f"{module} is in no layer: say in LAYERS where it belongs"
    return levels[0]


def test_dependencies_point_down() -> None:
    wrong = []
    for module in TREES.keys() - {"maml"}:
        for imported in imports(module):
            # `import maml` itself gives the public names of the library, which stands below the
            # demo.
            if imported == "maml":
                if module not in EXPORTED and layer(module) < layer("maml.demo"):
                    wrong.append(f"{module} imports the whole library")
            elif within(imported, "maml") and layer(imported) > layer(module):
                wrong.append(f"{module} imports {imported} from above")
    assert not wrong


CHANGING = {"Page", "DrawSession", "Visitor"}
"""Dataclasses of the app that are no values: what it remembers, which changes."""


def test_values_of_the_app_never_change() -> None:
    changing = {
        node.name
        for module, tree in TREES.items()
        if within(module, "maml.sessions") or within(module, "maml.demo")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if (text := ast.unparse(decorator)).startswith("dataclass") and "frozen=True" not in text
    }
    assert changing == CHANGING


def test_no_circle_of_imports() -> None:
    graph = {
        module: {found for found in imports(module) if found in TREES and found != module}
        for module in TREES
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.process
def test_every_module_loads_without_gradio_and_matplotlib() -> None:
    plotting = ("maml.plots", "maml.__main__", "maml.sessions")
    quiet = [name for name in LIBRARY if not any(within(name, package) for package in plotting)]
    others = [name for name in LIBRARY if name not in quiet]
    script = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(name)\n"
        "    for screen in ('gradio', 'matplotlib'):\n"
        "        if screen in sys.modules: sys.exit(f'importing {name} loads {screen}')\n"
        "for name in json.loads(sys.argv[2]):\n"
        "    importlib.import_module(name)\n"
        "    for screen in ('gradio', 'matplotlib.pyplot'):\n"
        "        if screen in sys.modules: sys.exit(f'importing {name} loads {screen}')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps(quiet), json.dumps(others)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
