"""What the environment says about how the app is served, checked before anything is loaded."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_SPACE_MINUTES = 10.0
_MOST_MINUTES = 1e6
_MOST_SECONDS = 86_400.0


class SettingError(ValueError):
    """A variable of the environment does not make sense; the text names it."""


@dataclass(frozen=True)
class ServerSettings:
    """How the app is served.

    Args:
        weights: to draw with: a checkpoint's path or a Hub id; None takes the bundled ones.
        trainings: how many may run at a time.
        training_minutes: how long one may take; 0 for as long as it takes.
        grace_seconds: how long one goes on without its visitor before it is saved and stopped.
        runs: folder for the files of trainings; None takes a temporary one.
        proxies: how many proxies stand in front of the app, each of which appends the address that
            it was called from to `X-Forwarded-For`.
        runs_megabytes: the most that the files of trainings may take; one visitor gets a tenth.
        mcp: whether agents may call `adapt_and_classify` by the Model Context Protocol.
        trainer: the program that trains and its arguments; empty for `maml.sessions.worker`.  No
            variable sets it.
    """

    weights: str | None = None
    trainings: int = 1
    training_minutes: float = 0.0
    grace_seconds: float = 60.0
    runs: Path | None = None
    proxies: int = 0
    runs_megabytes: int = 2000
    mcp: bool = False
    trainer: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServerSettings:
        """Read `MAML_WEIGHTS`, `MAML_TRAININGS`, `MAML_TRAINING_MINUTES`, `MAML_GRACE_SECONDS`,
        `MAML_RUNS`, `MAML_RUNS_MEGABYTES`, `MAML_PROXIES` and `MAML_MCP`, and check the variables
        of Gradio and of the data sets that decide whether the app can start.

        Raises:
            SettingError: if one of them does not make sense.
        """
        space = bool(environment.get("SPACE_ID"))

        def read(name: str, parse: Callable[[str], T], default: T) -> T:
            if name not in environment:
                return default
            try:
                return parse(environment[name])
            except ValueError as error:
                raise SettingError(f"{name} {error}; got {environment[name]!r}") from error

        settings = cls(
            weights=environment.get("MAML_WEIGHTS") or None,
            trainings=read("MAML_TRAININGS", _whole(1, 64), 1),
            training_minutes=read(
                "MAML_TRAINING_MINUTES", _minutes, _SPACE_MINUTES if space else 0.0
            ),
            grace_seconds=read("MAML_GRACE_SECONDS", _seconds, 60.0),
            runs=read("MAML_RUNS", _writable_folder, None),
            runs_megabytes=read("MAML_RUNS_MEGABYTES", _whole(10, 99_999_999), 2000),
            proxies=read("MAML_PROXIES", _whole(0, 10), 1 if space else 0),
            mcp=read("MAML_MCP", _mcp, False),
        )
        read("GRADIO_SERVER_PORT", _whole(1, 65_535), 0)
        read("GRADIO_NUM_PORTS", _whole(1, 65_535), 0)
        read("GRADIO_SERVER_NAME", _own_address, "")
        read("GRADIO_ROOT_PATH", _root_path, "")
        read("GRADIO_TEMP_DIR", _writable_folder, None)
        read("OMNIGLOT_DIR", _folder, None)
        read("QUICKDRAW_DIR", _folder, None)
        return settings


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and least <= int(digits[:9]) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(digits)

    return parse


def _mcp(text: str) -> bool:
    if text.strip() not in ("0", "1"):
        raise ValueError("must be 1 or 0")
    if text.strip() == "1" and importlib.util.find_spec("mcp") is None:
        raise ValueError("needs the package mcp: pip install 'mcp<2'")
    return text.strip() == "1"


def _minutes(text: str) -> float:
    minutes = _number(text)
    if not 0 <= minutes < _MOST_MINUTES:
        raise ValueError("must be a number of minutes, 0 for no limit")
    return minutes


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds < _MOST_SECONDS:
        raise ValueError("must be a number of seconds above 0")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _folder(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ValueError("must be a folder that is there")
    return path


def _writable_folder(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"must be a folder that can be written to ({reason})") from error
    return path


def _own_address(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise ValueError("must be a name or an address of this machine") from error
    return host


def _root_path(text: str) -> str:
    parts = urlsplit(text)
    address = parts.scheme in ("http", "https") and bool(parts.netloc)
    if text and not (text.startswith("/") or address):
        raise ValueError("must be a path that begins with / or an address with http:// or https://")
    return text
