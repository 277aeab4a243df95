"""Kinds of tests and the rule of reruns, seen in a small suite of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.process
HERE = Path(__file__).parent
SUITE = """
import subprocess
import pytest

seen = []

@pytest.fixture(scope="session")
def browser():
    return 1

class TimeoutError(Exception): pass

def once(text, number):
    seen.append(number)
    if seen.count(number) == 1:
        raise TimeoutError(text)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder whose tests know the rules of this suite."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=":")
    pytester.makeconftest('pytest_plugins = ["kinds", "reruns"]')
    pytester.makeini("[pytest]\nmarkers =\n    fast\n    process\n    browser\n    slow\n")
    return pytester


def of_browser(*numbers: int, text: str = "Locator.click: Timeout 5000ms exceeded.") -> str:
    return SUITE + "\n".join(
        f"def test_{number}(browser): once({text!r}, {number})" for number in numbers
    )


def test_a_browser_test_that_timed_out_is_run_once_more_and_named(suite: pytest.Pytester) -> None:
    suite.makepyfile(of_browser(1, 2))
    done = suite.runpytest_subprocess()
    assert done.parseoutcomes() == {"passed": 2, "rerun": 2}
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        ["*run once more after a time-out*", "*::test_1", "*Timeout 5000ms*", "*::test_2"]
    )


def test_three_of_them_fail_the_run(suite: pytest.Pytester) -> None:
    suite.makepyfile(of_browser(1, 2, 3))
    for options in ((), ("-n", "2")):
        done = suite.runpytest_subprocess(*options)
        assert done.ret == 1
        done.stdout.fnmatch_lines(["3 tests had to be run once more: that fails the run."])


def test_no_other_failure_is_run_once_more(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        of_browser(1, text="another reason")
        + """
def test_2(): once("Timeout 5000ms exceeded.", 2)

def test_3(browser): assert seen == ["expected"]
"""
    )
    done = suite.runpytest_subprocess()
    done.assert_outcomes(failed=3)
    done.stdout.no_fnmatch_line("*run once more*")


def test_each_test_is_of_one_kind(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        SUITE
        + """
def test_fast(): pass
def test_browser(browser): pass
@pytest.mark.process
def test_process(): pass
@pytest.mark.slow
def test_slow(): pass
"""
    )
    for kind in ("fast", "browser", "process", "slow"):
        done = suite.runpytest_inprocess("-m", kind, "-v")
        done.assert_outcomes(passed=1, deselected=3)
        done.stdout.fnmatch_lines([f"*::test_{kind} PASSED*"])


def test_a_fast_test_that_starts_a_process_fails(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        SUITE
        + """
def start():
    try:
        subprocess.run(["true"])
    except Exception:
        pass

@pytest.fixture
def started(): start()

def test_itself(): start()
def test_its_fixture(started): pass
def test_git(): subprocess.run(["git", "--version"])
@pytest.mark.process
def test_process(): start()
"""
    )
    done = suite.runpytest_subprocess()
    done.assert_outcomes(failed=2, passed=2)
    done.stdout.fnmatch_lines(["*A fast test started a process (subprocess.Popen*true*"])
