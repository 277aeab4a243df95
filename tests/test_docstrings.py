"""The docstrings of the public names say what goes in, what comes out, what is raised and why."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import maml

SHAPE = re.compile(r"\((?:[^()]*,[^()]*|\.\.\.)\)|scalar")
UNIT = re.compile(
    r"\[-?[01], 1\]|nats|seconds|percent|epochs|\brates?\b|probability|weight|factor|number"
)
SOURCES = {
    "adapt", "evaluate", "from_module", "load_omniglot", "load_quickdraw", "meta_train",
    "AdaptedLearner.nearest_prototypes", "InnerLoop", "MetaTraining", "Pretraining", "CharacterSet",
}  # fmt: skip
"""Those that follow a paper or load somebody's data."""


def public() -> Iterator[tuple[str, Any]]:
    """Public functions and classes, and the methods and properties that these define."""
    for name in maml.__all__:
        thing = getattr(maml, name)
        if not callable(thing):
            continue
        yield name, thing
        for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
            if not attribute.startswith("_") and isinstance(
                member, classmethod | property | functools.cached_property
            ):
                yield (
                    f"{name}.{attribute}",
                    getattr(member, "fget", None)
                    or getattr(member, "func", getattr(member, "__func__", None)),
                )
            elif not attribute.startswith("_") and inspect.isfunction(member):
                yield f"{name}.{attribute}", member


PUBLIC = dict(public())
IS_PROPERTY = {
    f"{name}.{attribute}"
    for name in maml.__all__
    if inspect.isclass(thing := getattr(maml, name))
    for attribute, member in vars(thing).items()
    if isinstance(member, property | functools.cached_property)
}


def sections(documentation: str) -> dict[str, str]:
    """What stands under each heading; under "" what stands before the first."""
    parts = re.split(
        r"^(Args|Attributes|Returns|Yields|Raises|Source|Licence and source):", documentation,
        flags=re.MULTILINE,
    )  # fmt: skip
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section: str) -> dict[str, str]:
    """`name: text` of each entry; `one, two: text` stands for both."""
    found = re.findall(r"^    (\w[\w., ]*):(.*(?:\n(?:     .*)?)*)", section, flags=re.MULTILINE)
    return {name: text for names, text in found for name in names.split(", ")}


def arguments(thing: Any) -> dict[str, str]:
    """Names and annotations of what a caller passes."""
    if inspect.isclass(thing):
        if "__init__" not in vars(thing):
            return {}
        given = inspect.signature(thing.__init__).parameters.values()
    else:
        given = inspect.signature(thing).parameters.values()
    return {one.name: str(one.annotation) for one in given if one.name not in ("self", "cls")}


def test_public_names_are_documented() -> None:
    wrong = [f"{name}: {fault}" for name, thing in PUBLIC.items() for fault in faults(name, thing)]
    assert not wrong


def faults(name: str, thing: Any) -> Iterator[str]:
    """What is wrong with the docstring of a public name."""
    documentation = inspect.cleandoc(thing.__doc__ or "")
    if not documentation or documentation.startswith(name + "("):
        yield "it has no docstring"
        return
    parts = sections(documentation)
    if not parts[""].split("\n\n")[0].rstrip().endswith((".", ":")):
        yield "it begins with no sentence"
    if name in SOURCES and not ("arXiv" in documentation or "ource:" in documentation):
        yield "it names no source"
    if name in IS_PROPERTY:
        return
    # "`predict` for queries (m, ...)": all but the difference is said there.
    is_variant = documentation.startswith("`")
    yield from faults_of_arguments(name, arguments(thing), parts, is_variant)
    if inspect.isclass(thing):
        return
    returned = str(inspect.signature(thing).return_annotation)
    if returned != "None" and not is_variant:
        said = parts.get("Returns", parts.get("Yields"))
        if said is None:
            yield "it does not say what it returns"
        elif (
            re.search(r"Tensor|NDArray", returned)
            and "dict" not in returned
            and not SHAPE.search(parts.get("Returns", ""))
        ):
            yield "what it returns has no shape"
    told = entries(parts.get("Raises", ""))
    for error in raised(thing):
        if not any(one.rpartition(".")[2] == error for one in told):
            yield f"Raises leaves out {error}"


def faults_of_arguments(
    name: str, expected: dict[str, str], parts: dict[str, str], is_variant: bool
) -> Iterator[str]:
    """What is wrong with the section on arguments."""
    described = entries(parts.get("Args", ""))
    if is_variant:
        described = dict.fromkeys(expected, parts[""]) | described
    if name == "MetaNetwork":  # its arguments are what its attributes are
        described |= entries(parts["Attributes"])
        expected = dict.fromkeys(expected, "")
    elif unknown := set(described) - set(expected):
        yield f"Args has names that nobody passes: {unknown}"
    if missing := set(expected) - set(described):
        yield f"Args leaves out {missing}"
    for argument in expected.keys() & described.keys():
        annotation, text = expected[argument], described[argument]
        if re.search(r"Tensor|NDArray|ArrayLike", annotation) or argument == "images":
            if not SHAPE.search(text):
                yield f"{argument} has no shape"
        elif re.search(r"\bfloat\b", annotation) and not UNIT.search(text):
            yield f"{argument} has neither unit nor range"


def raised(function: Any) -> set[str]:
    """The errors that a function raises in its own lines."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    errors = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = node.exc.func
            if isinstance(called, ast.Name):
                errors.add(called.id)
            elif isinstance(called, ast.Attribute) and called.attr == "_no_embedding":
                errors.add("TypeError")
    return errors
