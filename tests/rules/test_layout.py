"""The shape of the code: small files, documented names, imports that point down."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import unimq

ROOT = Path(__file__).parent.parent.parent
ADAPTERS = sorted(folder.name for folder in (ROOT / "adapters").iterdir() if (folder / "__init__.py").exists())
FILES = sorted(
    file for top in ("unimq", "adapters", "tests", "docs", "integration") for file in (ROOT / top).rglob("*.py")
)
LONGEST = 400


def modules() -> Iterator[str]:
    for package in ("unimq", *ADAPTERS):
        yield package
        path = importlib.import_module(package).__path__
        found = (module.name for module in pkgutil.walk_packages(path, f"{package}."))
        yield from (name for name in found if not name.endswith(".__main__"))  # which runs when it is imported


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_files_are_short() -> None:
    """No file of Python has more than 400 lines."""
    long = {shown(file): count for file in FILES if (count := len(file.read_text("utf-8").splitlines())) > LONGEST}
    assert long == {}


def test_modules_say_what_they_are_for() -> None:
    """Every file of Python begins with a docstring."""
    silent = [shown(f) for f in FILES if ast.get_docstring(ast.parse(f.read_text("utf-8"))) is None]
    assert silent == []


@pytest.mark.parametrize("name", sorted(modules()))
def test_public_names_exist_and_are_documented(name: str) -> None:
    """What a module exports is there, and says what it is; so do the public methods of its classes."""
    module = importlib.import_module(name)
    silent: list[str] = []
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        if inspect.isclass(value):
            silent += [f"{public}.{method}" for method in undocumented_methods(value)]
        # What was made by calling something, a decorator say, has no `def` that a docstring could stand in.
        written = inspect.isclass(value) or (isinstance(value, FunctionType) and value.__qualname__ == public)
        if written and not inspect.getdoc(value):
            silent.append(public)
    assert silent == []


def undocumented_methods(cls: type) -> list[str]:
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and isinstance(value, (FunctionType, property, classmethod, staticmethod))
        and not inspect.getdoc(getattr(cls, name))
    ]


def test_the_public_names_of_unimq_resolve() -> None:
    """Each name of `unimq.__all__` can be imported, and nothing else is offered."""
    assert [name for name in unimq.__all__ if getattr(unimq, name, None) is None] == []
    assert sorted(unimq.__all__) == sorted(set(unimq.__all__))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = unimq.no_such_name
    assert set(unimq.__all__) <= set(dir(unimq))


def test_public_names_know_their_home() -> None:
    """What `unimq` offers is the thing itself: its module is one of unimq's."""
    strangers = [
        name
        for name in unimq.__all__
        if not isinstance(getattr(unimq, name), ModuleType) and not getattr(unimq, name).__module__.startswith("unimq")
    ]
    assert strangers == []


def test_the_core_imports_no_adapter() -> None:
    """No module of the core names an adapter in an import, also not inside a function."""
    found = [
        f"{shown(file)}:{node.lineno}"
        for file in (ROOT / "unimq").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] in ADAPTERS
    ]
    assert found == []
