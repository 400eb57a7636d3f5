"""The page about testing is true: its examples are test files that pass."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "testing.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)

FOR_DRIVERS = next(place for place, block in enumerate(BLOCKS) if "Conformance" in block)
"""From this block on they are for authors of drivers."""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> pytest.RunResult:
    """Run a block as a test file; the entry point is left aside, because it may lead to another checkout."""
    pytester.makepyfile(text)
    paths = [str(ROOT / "docs" / "examples"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return pytester.runpytest_subprocess(
        "-p", "no:unimq", "-p", "unimq.testing.plugin", "-p", "no:cacheprovider", *arguments
    )


def test_the_examples_for_applications(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixtures do what the page says."""
    for block in BLOCKS[:FOR_DRIVERS]:
        run(pytester, monkeypatch, block).assert_outcomes(passed=1)


def test_the_example_for_drivers(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """One class and one fixture run the suite; a few groups will do here."""
    done = run(
        pytester, monkeypatch, BLOCKS[FOR_DRIVERS], "-k", "test_a_message_arrives or every_byte or requirement_holds"
    )
    outcomes = done.parseoutcomes()
    assert outcomes["passed"] >= 50
    assert set(outcomes) <= {"passed", "deselected"}


def test_the_example_with_a_server_collects_the_faults(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class with a fixture `server` has the fault cases, the one without has not."""
    text = "\n".join(BLOCKS[FOR_DRIVERS:]).replace("class MyConf", "class TestMyConf")
    done = run(pytester, monkeypatch, text, "--collect-only", "-q", "-k", "stalled_server")
    lines = [line for line in done.outlines if "::" in line]
    assert [line.split("::")[1] for line in lines] == ["TestMyConformanceWithFaults"] * 2
