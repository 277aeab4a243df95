"""How a script of trust ends: what is wrong is listed, and the exit status says so."""

from __future__ import annotations

from collections.abc import Sequence


def end_with(wrong: Sequence[str], word: str = "WRONG") -> None:
    """Print what is wrong, a line each; with anything wrong the program ends with status 1."""
    for one in wrong:
        print(f"{word}: {one}")
    if wrong:
        raise SystemExit(1)
