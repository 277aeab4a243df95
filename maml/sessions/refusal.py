"""Errors that the page words in its visitor's language."""

from __future__ import annotations

from typing import Any


class Refusal(ValueError):
    """Input that cannot be served, as a code and the values that its words need.

    The words of each code stand in `maml.demo.strings`; `maml.demo.strings.worded` fills them in.

    Args:
        code: the key of those words.
        details: the values, ready for JSON.  A value may itself be such a record, or a list of
            them: a place in a document, for example.

    Attributes:
        record: ``{"code": code, **details}``.
    """

    def __init__(self, code: str, **details: Any) -> None:
        self.record: dict[str, Any] = {"code": code, **details}
        super().__init__(f"{code} {details}" if details else code)
