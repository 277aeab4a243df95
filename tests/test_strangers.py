"""What strangers and breaks of the connection do to a training: nothing, while its page speaks.

The page is played here, so that its connection can be cut at will.  The app forgets sessions after
three seconds instead of three hours and keeps the messages of 40 sessions instead of 10,000.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
from apps import quiet_app
from trainings import wait_until

from benchmarks.trainer import Page

pytestmark = pytest.mark.slow

TTL = 3.0
GRACE = 8.0
_PROGRAM = f"""
import runpy
import maml.demo.janitor, maml.demo.messages
maml.demo.janitor._EVERY_SECONDS = 0.2
maml.demo.janitor._give_back_memory = lambda: None  # so often it would slow everything down
maml.demo.janitor.Janitor.__init__.__kwdefaults__["hours"] = {TTL} / 3600
maml.demo.messages.MessagesToPages.__init__.__defaults__ = (40,)
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app behind a proxy: requests tell whose they are."""
    variables = {"MAML_PROXIES": "1", "MAML_GRACE_SECONDS": str(GRACE)}
    with quiet_app(tmp_path_factory.mktemp("app"), ("-c", _PROGRAM), **variables) as port:
        yield f"http://127.0.0.1:{port}"


def speak_for(page: Page, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.speak()
        time.sleep(0.4)


def test_a_training_lives_as_long_as_its_page_speaks(url: str) -> None:
    page = Page(url, "page-one")
    page.start()
    wait_until(lambda: page.token, 60)
    page.cut()
    time.sleep(TTL + 1)  # Gradio's session is forgotten; the visitor's is not
    speak_for(page, GRACE + 1)
    page.states.clear()
    page.arrive()
    wait_until(lambda: page.states, 60)
    assert page.states[-1] in ("preparing", "training")
    # A machine that halts for three seconds makes Gradio forget the session between two lines.
    for _ in range(3):
        page.cut()
        time.sleep(TTL + 1)
        page.speak()  # gives the session back to the page's buttons
        page.press("Stop training")
        page.states.clear()
        page.arrive()
        with suppress(AssertionError):
            wait_until(lambda: "stopped" in page.states, 10)
            break
    assert page.states[-1] == "stopped"


def test_strangers_who_join_end_no_training(url: str) -> None:
    page = Page(url, "page-two")
    page.start()
    wait_until(lambda: page.token, 60)
    stranger = itertools.count()
    arrive = page._event("arrive", lambda it: True)
    for _ in range(60):
        other = Page.__new__(Page)
        other.__dict__ = {**page.__dict__, "_session": f"stranger-{next(stranger)}"}
        assert other.join(arrive, [{"token": "", "first": True}, None]) == 200
        page.speak()
        time.sleep(0.1)  # a page that listens uses its messages once a second
    page.states.clear()
    wait_until(lambda: page.states, 60)
    assert page.states[-1] in ("waiting", "preparing", "training")
    page.press("Stop training")
    wait_until(lambda: "stopped" in page.states, 60)


def test_one_address_gets_half_of_the_places(url: str) -> None:
    pages = [Page(url, f"greedy-{k}", "203.0.113.5") for k in range(9)]
    for place, page in enumerate(pages[:-1]):
        page.start()
        wait_until(partial(getattr, page, "token"), 60)
        for open_page in pages[: place + 1]:  # A silent one would lose its place to the next.
            open_page.speak()
    pages[-1].start()
    wait_until(lambda: pages[-1].errors, 60)
    assert pages[-1].errors[0].startswith("8 trainings from your address run or wait already")
    other = Page(url, "modest", "203.0.113.6")
    other.start()
    wait_until(lambda: other.token, 60)
    assert not other.errors
