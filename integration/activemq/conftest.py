"""The brokers of these tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from activemq.recipes import BROKER
from harness import IMAGES, Recipe


@pytest.fixture(scope="session")
def broker() -> Recipe:
    """A broker with a scheduler, the statistics plugin and a login."""
    return BROKER


@pytest.fixture(scope="session")
def variant(broker: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """The same broker with other words in its configuration."""

    def variant(name: str, changes: dict[str, str]) -> Recipe:
        text = (IMAGES / "activemq" / "activemq.xml").read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file: Path = tmp_path_factory.mktemp(name) / "activemq.xml"
        file.write_text(text)
        return replace(broker, variant=name, files={"/conf/activemq.xml": file})

    return variant
