"""Every command in the documents is one that works: its program, its options, its targets.

Commands of the library are parsed as given; programs with options of their own are asked for their
help; targets are looked up.  What needs another machine or hours is named below with the reason.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maml.__main__ import _recipe
from maml.arguments import parse

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?"
    r"(?:python3?|pip|ruff|mypy|pytest|maml|torchrun|make|docker|curl|export|git|npm|node) "
)
NOT_RUN = {
    r"python3? -m venv": "makes an environment, as test_wheel and make space-check do",
    r"pip install": "installs, as test_wheel and make space-check do",
    r"docker ": "needs Docker; the Dockerfile takes the steps of make space-check",
    r"curl ": "asks a running app: test_mcp.test_the_printed_examples_run_as_they_stand",
    r"export ": "names folders of the reader's own",
    r"(ruff check|mypy|pytest)": "is make lint, make types, make test-py",
    r"python -m pytest tests/test_adapt\.py -k": "would run tests within a test",
    r"python3? app\.py": "serves the app, as the browser tests do",
}  # fmt: skip


def commands(text: str) -> Iterator[str]:
    """Commands in code blocks, and in code within a sentence."""
    text = re.sub(r"^```(?:python|bibtex).*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^(?: {4}|\t).+\n?)+", text, re.MULTILINE)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if COMMAND.match(line.strip()):
                yield line.strip()
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        if COMMAND.match(span):
            yield " ".join(span.split())


def documented() -> list[str]:
    """Each command once, without comments, without what stands before it."""
    found: dict[str, None] = {}
    for document in DOCUMENTS:
        for line in commands(document.read_text(encoding="utf-8")):
            for part in re.split(r"&&|\s&$", re.sub(r"(^|\s)#.*", "", line)):
                bare = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", part.strip())
                if bare := bare.removeprefix(".venv/bin/"):
                    found[bare] = None
    return list(found)


DOCUMENTED = documented()
LIBRARY = re.compile(r"(?:python -m maml|maml|torchrun .*-m maml) ?(.*)")
PROGRAMS = re.compile(r"python (-m (?:benchmarks)\.\w+|(?:benchmarks|examples)/\w+\.py) ?(.*)")


def test_there_are_commands_of_every_kind() -> None:
    assert len(DOCUMENTED) > 40
    for kind in (LIBRARY, PROGRAMS, re.compile("make ")):
        assert sum(bool(kind.match(command)) for command in DOCUMENTED) >= 4


@pytest.mark.process
def test_every_command_is_known() -> None:
    helped = help_of({match[1] for command in DOCUMENTED if (match := PROGRAMS.match(command))})
    wrong = [
        f"{command}: {fault}" for command in DOCUMENTED if (fault := fault_of(command, helped))
    ]
    assert not wrong


def fault_of(command: str, helped: dict[str, str]) -> str | None:
    """What is wrong with a command."""
    if library := LIBRARY.match(command):
        return fault_of_library(shlex.split(library[1]))
    if command.startswith("make"):
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        named = {word for word in shlex.split(command)[1:] if "=" not in word}
        return f"no target {named - set(targets)}" if named - set(targets) else None
    if program := PROGRAMS.match(command):
        text = helped[program[1]]
        options = re.findall(r"--[\w-]+", program[2])
        if text.startswith("usage: ") and all(option in text for option in options):
            return None
        return f"not what its help says: {text}"
    known = any(re.match(pattern, command) for pattern in NOT_RUN)
    return None if known else "say in NOT_RUN why it is not run"


def fault_of_library(words: list[str]) -> str | None:
    """What is wrong with the arguments of `maml`."""
    asks_help = "..." in words or not words  # what follows is left to the reader
    if asks_help:
        words = [*itertools.takewhile(lambda word: word != "...", words), "--help"]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            options = parse(words)
            if options.command == "train":
                _recipe(options)  # its settings go together
    except (SystemExit, ValueError) as ended:
        helped = asks_help and isinstance(ended, SystemExit) and ended.code == 0
        return None if helped else f"{ended} {errors.getvalue()}"
    return "its help is not printed" if asks_help else None


HELP = """
import contextlib, io, json, pathlib, runpy, sys
found = {}
for name in json.load(sys.stdin):
    printed = io.StringIO()
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        if name.startswith("-m "):
            runpy.run_module(name[3:], run_name="__main__")
        else:
            sys.path.insert(0, str(pathlib.Path(name).parent))
            runpy.run_path(name, run_name="__main__")
    found[name] = printed.getvalue()
print(json.dumps(found))
"""


def help_of(names: set[str]) -> dict[str, str]:
    """What each of these programs of the repository prints about itself, in one process."""
    ended = subprocess.run(
        [sys.executable, "-c", HELP], input=json.dumps(sorted(names)), cwd=ROOT, timeout=300,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told: dict[str, str] = json.loads(ended.stdout)
    return told
