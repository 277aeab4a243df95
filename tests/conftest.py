"""What several test files share: real data where it is at hand, a real browser, and an app."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page import DESK, PHONE, MakeVisitor, Profiles, Visitor
from trainings import Clock

from maml.data.characters import CharacterSet
from maml.data.synthetic import generate_alphabets

if TYPE_CHECKING:
    from apps import App

pytest_plugins = ["kinds", "reruns"]

# A shell that runs tests in the background lets them ignore Ctrl-C, and so would all they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start programs in folders of their own, so a relative path would lead them astray.
for _name in ("OMNIGLOT_DIR", "QUICKDRAW_DIR"):
    if os.environ.get(_name):
        os.environ[_name] = str(Path(os.environ[_name]).expanduser().resolve())


@pytest.fixture(scope="session")
def omniglot_dir() -> Path:
    """The folder of the real data set; tests that need it are skipped where there is none."""
    folder = os.environ.get("OMNIGLOT_DIR")
    if not folder:
        pytest.skip("OMNIGLOT_DIR is not set: the real data set is not at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def quickdraw_dir() -> Path:
    """The folder of real doodles; tests that need it are skipped where there is none."""
    folder = os.environ.get("QUICKDRAW_DIR")
    if not folder:
        pytest.skip("QUICKDRAW_DIR is not set: real doodles are not at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def small_alphabets() -> CharacterSet:
    """Four generated alphabets of 6 characters, 10 drawings each; two of them for training."""
    return generate_alphabets(alphabets=4, characters=6, drawings=10, seed=7)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real disk of the size asked for ("256k"), where that is allowed."""
    disk = tmp_path / "disk"

    def mount(size: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a disk")
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this machine lets no disk be mounted")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium: the system's, else the one that Playwright fetched."""
    from playwright.sync_api import Error

    from benchmarks.browser import chromium

    with ExitStack() as stack:
        try:
            launched = stack.enter_context(chromium())
        except Error as error:
            pytest.skip(f"No Chromium can be started (make chromium installs one): {error}")
        yield launched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Takes the place of `time.monotonic`."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture(scope="session")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A running app."""
    from apps import running

    with running(tmp_path_factory.mktemp("app")) as app:
        yield app


@pytest.fixture
def app_url(shared_app: App) -> Iterator[str]:
    """The address of that app, whose log must hold no traceback of this test."""
    yield shared_app.url
    shared_app.check_log()


@pytest.fixture(scope="session")
def profiles(browser: Any, shared_app: App) -> Iterator[Profiles]:
    """Browser profiles for that app."""
    profiles = Profiles(browser, shared_app.url)
    yield profiles
    profiles.close()


@pytest.fixture
def visitors(profiles: Profiles, app_url: str) -> Iterator[MakeVisitor]:
    """Makes people, each with a browser profile of their own; no page may have an error."""
    made: list[Visitor] = []

    def make(*, touch: bool = False, path: str = "", **settings: Any) -> Visitor:
        page = profiles.page(**{**(PHONE if touch else DESK), **settings})
        visitor = Visitor(page, touch)
        made.append(visitor)
        return visitor.open(app_url + path)

    yield make
    errors = [error for visitor in made for error in visitor.leave()]
    for visitor in made:
        profiles.take_back(visitor.page.context)
    assert not errors


@pytest.fixture(params=["mouse", "touch"])
def visitor(request: pytest.FixtureRequest, visitors: MakeVisitor) -> Visitor:
    """One person at a desk, and one with a phone, where the hand makes a difference."""
    return visitors(touch=request.param == "touch")
