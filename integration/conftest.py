"""Tests on real servers: `pytest integration`, best by `make integration`, which brings a container engine.

- `UNIMQ_INTEGRATION=require|try|skip`: whether a missing server fails a test, skips it, or none is looked for
- `UNIMQ_TEST_<BACKEND>_URL`: a server that runs already; `UNIMQ_IMAGE_<BACKEND>`: an image to use instead of our own
- `UNIMQ_HISTORY_SECONDS`: for how long each history is disturbed (15)
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest
from harness import MissingServer, Recipe, Run, Running

from unimq.testing import history as histories
from unimq.testing.history import Verdict
from unimq.testing.lab import fresh_name

_RUN = pytest.StashKey[Run]()
_HISTORY = "history"


def pytest_configure(config: pytest.Config) -> None:
    """The first process makes the run, before the workers are started."""
    config.stash[_RUN] = Run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The first process ends what the run started."""
    run = config.stash.get(_RUN, None)
    if run is not None and run.first:
        run.close()


def pytest_report_header(config: pytest.Config) -> str:
    """What is tested against what."""
    return config.stash[_RUN].describe()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the histories showed, also where all is well."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == _HISTORY and report.when == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the servers last said."""
    report = yield
    if report.failed:
        for name, log in item.config.stash[_RUN].logs():
            report.sections.append((f"server {name}", log))
    return report


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """The servers of this run."""
    return pytestconfig.stash[_RUN]


@pytest.fixture
def history(record_property: Callable[[str, object], None]) -> Callable[..., Verdict]:
    """Runs a history on a URL, with the faults of a server if one is given, and has its verdict in the summary."""

    def history(url: str, server: Running | None = None) -> Verdict:
        seconds = float(os.environ.get("UNIMQ_HISTORY_SECONDS", "15"))
        faults = histories.breakages(server) if server is not None else {}
        verdict = histories.run(url, fresh_name(), seconds=seconds, faults=faults)
        record_property(_HISTORY, str(verdict))
        assert verdict.stored > 0
        assert verdict.unexpected == set()
        return verdict

    return history


@pytest.fixture(scope="session")
def shared(run: Run) -> Callable[[Recipe], str]:
    """The URL of a server that nobody breaks, by its recipe."""

    def shared(recipe: Recipe) -> str:
        try:
            return run.shared(recipe)
        except MissingServer as missing:
            _without(run, recipe, missing)

    return shared


@pytest.fixture(scope="class")
def private(run: Run) -> Iterator[Callable[[Recipe], Running]]:
    """A server that the tests of a class may break, by its recipe; it is removed after them."""
    with ExitStack() as stack:

        def private(recipe: Recipe) -> Running:
            try:
                return stack.enter_context(run.private(recipe))
            except MissingServer as missing:
                _without(run, recipe, missing)

        yield private


def _without(run: Run, recipe: Recipe, missing: MissingServer) -> NoReturn:
    """No server: a failure, or a skip that the summary names."""
    reason = f"NOT TESTED: no {recipe.backend}: {missing}"
    if run.mode == "require":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
