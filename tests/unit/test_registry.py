"""Finding drivers: entry points, registration, and what is said when there is none."""

import importlib.metadata
import subprocess
import sys
import threading
import types
from collections.abc import Iterator

import pytest

import unimq
import unimq_memory
from unimq import registry


class Driver(unimq_memory.MemoryDriver):
    """Another one, for registration."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for scheme in ("mine", "broken", "old"):
        registry.unregister(scheme)
        registry._entry_points.pop(scheme, None)


def test_schemes_are_found_by_their_entry_points() -> None:
    """Ours like anyone's; looked up once, and the same driver each time."""
    assert {"memory", "sqlite"} <= set(registry.schemes())
    assert registry.driver("memory") is unimq_memory.driver
    assert registry.driver("memory") is registry.driver("memory")


def test_nothing_is_looked_up_before_it_is_needed() -> None:
    """Importing the registry reads no metadata and imports no adapter."""
    code = (
        "import sys, unimq.registry; assert 'importlib.metadata' not in sys.modules; "
        "assert not [m for m in sys.modules if m.startswith('unimq_')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


def test_an_unknown_scheme_is_named_with_the_nearest_and_all() -> None:
    """So that a slip of the pen is seen at once."""
    with pytest.raises(unimq.InvalidURL, match=r"'sqllite', did you mean 'sqlite'\?; known: .*memory"):
        unimq.Queue("sqllite:///x.db?queue=a")


def test_a_driver_may_be_registered_in_this_process() -> None:
    """And taken away again."""
    registry.register("mine", Driver())
    with unimq.Queue("mine:///jobs") as queue:
        queue.put("x")
    assert "mine" in registry.schemes()
    registry.unregister("mine")
    with pytest.raises(unimq.InvalidURL):
        unimq.Queue("mine:///jobs")


@pytest.mark.parametrize(("version", "who"), [(0, "the driver"), (2, "unimq")])
def test_another_version_of_the_contract_is_refused(version: int, who: str) -> None:
    """Saying which side to upgrade."""
    driver = Driver()
    driver.contract = version
    with pytest.raises(unimq.InvalidURL, match=f"upgrade {who}$"):
        registry.register("old", driver)


@pytest.mark.parametrize("value", ["no_such_package:driver", "unimq_memory:no_such_driver"])
def test_a_package_that_cannot_be_imported_is_said(value: str) -> None:
    """Its entry point is there; its module, or the driver in it, is not."""
    entry = importlib.metadata.EntryPoint("broken", value, registry.GROUP)
    registry._entry_points["broken"] = entry
    with pytest.raises(unimq.DriverMissing, match="install the package that provides it"):
        registry.driver("broken")


def test_a_missing_client_library_says_what_to_install() -> None:
    """Before anything is connected; it is not imported for that."""
    driver = Driver()
    driver.name, driver.library, driver.install = "mine", "no_such_library", 'pip install "unimq[mine]"'  # type: ignore[assignment]
    registry.register("mine", driver)
    with pytest.raises(unimq.DriverMissing, match=r"pip install \"unimq\[mine\]\""):
        unimq.Queue("mine:///jobs")
    driver.library = "json"  # type: ignore[assignment]
    unimq.Queue("mine:///jobs").close()


def test_a_library_is_looked_for_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of it would be imported by looking for it; what is imported already is there, whatever it is."""
    driver = Driver()
    driver.library = "no_such_library.client"  # type: ignore[assignment]
    with pytest.raises(unimq.DriverMissing, match=r"no_such_library\.client"):
        registry.require_library(driver)
    monkeypatch.setitem(sys.modules, "no_such_library", types.ModuleType("no_such_library"))
    registry.require_library(driver)


def test_an_adapter_may_register_drivers_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded outside the registry's lock; and what was registered meanwhile stays."""
    module = types.ModuleType("an_adapter")
    early = Driver()

    def load(name: str) -> Driver:
        assert name == "driver"
        registry.register("mine", early)
        return Driver()

    module.__getattr__ = load  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "an_adapter", module)
    registry._entry_points["mine"] = importlib.metadata.EntryPoint("mine", "an_adapter:driver", registry.GROUP)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(registry.driver("mine")), daemon=True)
    thread.start()
    thread.join(10)
    assert found == [early]


def test_many_threads_find_the_same_driver() -> None:
    """The first lookup is made once."""
    registry._drivers.pop("memory", None)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(registry.driver("memory"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
