"""Every adapter is wired into everything that has to know of it."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from unimq.driver import Driver

ROOT = Path(__file__).parent.parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ADAPTERS = sorted(folder.name for folder in (ROOT / "adapters").iterdir() if (folder / "__init__.py").exists())
ENTRY_POINTS: dict[str, str] = PROJECT["project"]["entry-points"]["unimq.drivers"]
HEADINGS = ["URL", "Delivery", "Limits", "Escape hatch"]


def test_there_are_adapters() -> None:
    """The tests below test something."""
    assert {"unimq_activemq", "unimq_memcacheq", "unimq_memory", "unimq_sqlite"} <= set(ADAPTERS)


@pytest.mark.parametrize("name", ADAPTERS)
class TestAdapter:
    """What holds for each package under adapters/."""

    def test_it_is_in_the_wheel(self, name: str) -> None:
        """Its folder is one of the wheel's packages."""
        assert f"adapters/{name}" in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    def test_it_is_typed(self, name: str) -> None:
        """It has the marker that makes type checkers read it."""
        assert (ROOT / "adapters" / name / "py.typed").exists()

    def test_it_has_an_entry_point(self, name: str) -> None:
        """A scheme leads to it."""
        assert f"{name}:driver" in ENTRY_POINTS.values()

    def test_its_driver_has_what_the_contract_names(self, name: str) -> None:
        """Each attribute of `Driver`: the core reads some of them only where an option asks for it."""
        driver = importlib.import_module(name).driver
        assert [one for one in Driver.__annotations__ if not hasattr(driver, one)] == []

    def test_it_is_checked(self, name: str) -> None:
        """The type checker, the import contracts and the coverage know of it."""
        tools = PROJECT["tool"]
        contracts = {contract["type"]: contract for contract in tools["importlinter"]["contracts"]}
        core, siblings = contracts["forbidden"], contracts["independence"]
        assert name in tools["mypy"]["packages"]
        assert name in tools["coverage"]["run"]["source_pkgs"]
        assert name in tools["importlinter"]["root_packages"]
        assert name in core["forbidden_modules"]
        assert name in siblings["modules"]

    def test_its_words_have_the_four_headings(self, name: str) -> None:
        """Its docstring says the same things in the same order as the others'."""
        words = inspect.getdoc(importlib.import_module(name)) or ""
        assert re.findall(r"^(\S.*)\n(?=    )", words, re.MULTILINE) == HEADINGS

    def test_it_has_a_page(self, name: str) -> None:
        """Its page has the four sections, and the table of its options."""
        scheme = next(scheme for scheme, target in ENTRY_POINTS.items() if target == f"{name}:driver")
        page = (ROOT / "docs" / "adapters" / f"{name.removeprefix('unimq_')}.md").read_text("utf-8")
        assert f"<!-- generated: page {scheme} -->" in page
        assert [line[3:] for line in page.splitlines() if line.startswith("## ")][:4] == HEADINGS
        driver = importlib.import_module(name).driver
        assert [option.name for option in driver.options if f"\n| `{option.name}` | " not in page] == []


def test_entry_points_lead_to_drivers_of_their_contract() -> None:
    """Every entry point of ours can be loaded and speaks the contract of this version."""
    from unimq.driver import CONTRACT_VERSION

    for target in ENTRY_POINTS.values():
        module, _, attribute = target.partition(":")
        assert getattr(importlib.import_module(module), attribute).contract == CONTRACT_VERSION


def test_the_core_depends_on_msgspec_alone() -> None:
    """Nothing else is installed with `pip install unimq`."""
    assert [text.partition(">")[0] for text in PROJECT["project"]["dependencies"]] == ["msgspec"]


def test_hints_name_what_can_be_installed() -> None:
    """The client library itself, as the extra has it: unimq is on no index yet. The command line's packages too."""
    extras = PROJECT["project"]["optional-dependencies"]
    for target in ENTRY_POINTS.values():
        driver = getattr(importlib.import_module(target.partition(":")[0]), target.partition(":")[2])
        assert driver.install == ("" if driver.library is None else f'pip install "{extras[driver.name][0]}"')
    hint = (ROOT / "unimq" / "cli" / "__init__.py").read_text("utf-8")
    assert f"pip install {' '.join(map(repr, extras['cli']))}" in hint


def test_all_has_every_extra() -> None:
    """`unimq[all]` names each extra."""
    extras = PROJECT["project"]["optional-dependencies"]
    named = extras["all"][0].removeprefix("unimq[").removesuffix("]").split(",")
    assert set(named) == set(extras) - {"all"}
