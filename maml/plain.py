"""Settings as what JSON can hold, and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def to_plain(settings: Any) -> Any:
    """Turn settings into dictionaries, lists and numbers that JSON can hold."""
    plain = dataclasses.asdict(settings)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def finite(value: Any) -> Any:
    """The value with None for every float in it that is infinite or not a number: JSON has no word
    for these."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: str) -> Any:
    """`json.loads`, which fails in one way only.

    Raises:
        ValueError: if the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def from_plain(kind: type[_T], plain: Mapping[str, Any]) -> _T:
    """Rebuild settings from what `to_plain` made of them; settings that are missing get defaults.

    Raises:
        ValueError: if a name is unknown or a value does not fit; the text says which.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"{kind.__name__} must be a JSON object; got {plain!r}.")
    renamed: Mapping[str, str] = getattr(kind, "RENAMED", {})
    values = {renamed.get(name, name): value for name, value in plain.items()}
    hints = get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = ", ".join(sorted(set(values) - set(names)))
    if unknown:
        raise ValueError(f"{kind.__name__} has no setting {unknown}; it has {names}.")
    values = {name: _rebuilt(name, hints[name], value) for name, value in values.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of {plain!r}: {error}.") from error


def _rebuilt(name: str, hint: Any, value: Any) -> Any:
    """A setting's value; its type hint may hold a dataclass, alone or in a tuple or an option."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list; got {value!r}.")
        return tuple(_rebuilt(name, arguments[0], entry) for entry in value)
    for kind in (hint, *arguments):
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return None if value is None and type(None) in arguments else from_plain(kind, value)
    return value
