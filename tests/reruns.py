"""A browser test that timed out is run once more; three such in one run fail the run."""

from __future__ import annotations

import pytest

_TIME_OUTS = [r"TimeoutError: .*Timeout \d+ms exceeded", r"with timeout \d+ms"]
"""What Playwright says when an action, and when an expectation, has waited in vain."""
_TOO_MANY = 3


def pytest_configure(config: pytest.Config) -> None:
    """Count what is run once more."""
    config.pluginmanager.register(_Counter(), "rerun-counter")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let browser tests, and no others, be run once more after a time-out."""
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return  # left out on purpose, as benchmarks/mutations.py does
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=_TIME_OUTS))


class _Counter:
    """Hears of every report, under pytest-xdist in the process that controls the others."""

    def __init__(self) -> None:
        self.tests: list[tuple[str, str]] = []
        """Each with what happened the first time."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if str(report.outcome) == "rerun":
            self.tests.append((report.nodeid, report.longreprtext))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if len(self.tests) >= _TOO_MANY and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.tests:
            terminalreporter.section("run once more after a time-out")
            for test, reason in self.tests:
                terminalreporter.write_line(test)
                terminalreporter.write_line(reason)
            if len(self.tests) >= _TOO_MANY:
                terminalreporter.write_line(
                    f"{len(self.tests)} tests had to be run once more: that fails the run."
                )
