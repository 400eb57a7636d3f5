"""Write the generated parts of the documentation, which are made from the drivers' own data.

A generated part stands between two comments, `<!-- generated: WHAT -->` and `<!-- /generated -->`, in README.md or a
page under docs/; WHAT is a name of `PARTS`, `options core`, or `page NAME` with a backend's scheme. A test compares
what stands there with what this would write.
"""

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, cast

from unimq import URL, Capabilities, registry
from unimq.capabilities import CAPABILITY_NAMES
from unimq.driver import Driver
from unimq.options import CORE, markdown_table

ROOT: Final = Path(__file__).parent.parent
_PART: Final = re.compile(r"(<!-- generated: ([^>]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def drivers() -> dict[str, Driver]:
    """Our own drivers by their first scheme, in the order of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, Driver] = {}
    for scheme in project["entry-points"]["unimq.drivers"]:
        driver = registry.driver(scheme)
        if driver not in found.values():
            found[scheme] = driver
    return found


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def renewed(text: str) -> str:
    """The text of a page with its generated parts made anew."""
    return _PART.sub(lambda match: f"{match[1]}\n{part(match[2])}\n\n{match[3]}", text)


def part(name: str) -> str:
    """One generated part, as Markdown."""
    kind, _, scheme = name.partition(" ")
    return page_of(scheme) if kind == "page" else PARTS[name]()


def page_of(scheme: str) -> str:
    """A backend's own words, from the docstring of its package, with the table of its options in the first section."""
    driver = registry.driver(scheme)
    package = type(driver).__module__.partition(".")[0]
    words = inspect.getdoc(importlib.import_module(package)) or ""
    sections = re.split(r"^(\w[\w ]*)\n(?=    )", words, flags=re.MULTILINE)[1:]
    parts: list[str] = []
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        parts += [f"## {heading}", inspect.cleandoc(text)]
        if heading == "URL" and driver.options:
            parts.append(markdown_table(driver.options))
    return "\n\n".join(parts)


def core_options() -> str:
    """The URL options that every backend has."""
    return markdown_table(CORE)


def levels() -> str:
    """Which capability has which level where."""
    return _comparison(CAPABILITY_NAMES, lambda can, name: "-" if can[name].level == "absent" else can[name].level)


def notes() -> str:
    """The fine print of each level."""
    rows = [
        f"| {driver.name} | `{name}` | {can[name].level} | {can[name].note} |"
        for driver, can in _declared()
        for name in CAPABILITY_NAMES
        if can[name].note
    ]
    return "\n".join(["| backend | capability | level | note |", "|---|---|---|---|", *rows])


def promises() -> str:
    """Everything else that is declared, but the limits."""
    names = [name for name in Capabilities.__slots__ if name not in {*CAPABILITY_NAMES, "limits"}]
    return _comparison(names, lambda can, name: _shown(getattr(can, name)))


def limits() -> str:
    """What is checked before sending."""
    names = ("body", "name", "name_characters", "delay", "headers")
    return _comparison(names, lambda can, name: _shown(getattr(can.limits, name)))


def backends() -> str:
    """The backends in one line each."""
    rows = [f"| {driver.name} | {_schemes(driver)} | {can.guarantee} |" for driver, can in _declared()]
    return "\n".join(["| backend | schemes | guarantee |", "|---|---|---|", *rows])


PARTS: Final[dict[str, Callable[[], str]]] = {
    "levels": levels,
    "notes": notes,
    "promises": promises,
    "limits": limits,
    "backends": backends,
    "options core": core_options,
}


def _declared() -> list[tuple[Driver, Capabilities]]:
    return [(driver, driver.capabilities(URL(scheme))) for scheme, driver in drivers().items()]


def _schemes(driver: Driver) -> str:
    return ", ".join(f"`{scheme}://`" for scheme in registry.schemes() if registry.driver(scheme) is driver)


def _comparison(names: Iterable[str], value: Callable[[Capabilities, str], str]) -> str:
    declared = _declared()
    rows = [
        "| | " + " | ".join(driver.name for driver, _ in declared) + " |",
        "|---" * (len(declared) + 1) + "|",
        *(f"| `{name}` | " + " | ".join(value(can, name) for _, can in declared) + " |" for name in names),
    ]
    return "\n".join(rows)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, cast("frozenset[object]", value)))) or "-"
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return f"`{text}`" if re.search(r"[\[\\|*]", text) else text


def main() -> int:
    """Renew every page; say which changed."""
    for page in pages():
        text = page.read_text("utf-8")
        fresh = renewed(text)
        if fresh != text:
            page.write_text(fresh, "utf-8")
            print(f"renewed {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
