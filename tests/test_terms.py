"""Terms of the Train tab: every one has its texts, and the code it quotes is the code."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from maml.demo import terms
from maml.demo.terms import TERMS, quotations, source, source_routes
from maml.demo.train_strings import TRAIN_STRINGS


def test_every_quoted_line_is_in_the_code_and_every_term_has_its_words() -> None:
    found = quotations()
    assert list(found) == ["way", "shot", "support", "query", "inner", "outer", "order"]
    for term, (file, code) in TERMS.items():
        line = source(file).splitlines()[found[term]["line"] - 1]
        assert line.strip() == code == found[term]["code"]
        for words in TRAIN_STRINGS.values():
            assert words[f"term_{term}"] and words[f"term_{term}_text"]


def test_every_mark_in_a_text_is_a_term() -> None:
    for words in TRAIN_STRINGS.values():
        marked = {term for text in words.values() for term in re.findall(r"\[\[(\w+)\|", text)}
        assert marked == set(TERMS)


def test_a_line_that_is_no_longer_in_the_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "way", ("config.py", "ways = 5"))
    with pytest.raises(ValueError, match="for 'way' is not in config.py: 'ways = 5'"):
        quotations.__wrapped__()


def test_the_quoted_files_are_served_and_no_others() -> None:
    with TestClient(Starlette(routes=source_routes())) as client:
        paths = ("/source/maml/train.py", "/source/maml/hub.py", "/source/maml/..%2Fapp.py")
        there, missing, outside = (client.get(path) for path in paths)
    assert there.text == terms.source("train.py")
    assert there.headers["content-type"].startswith("text/plain")
    assert missing.status_code == outside.status_code == 404
