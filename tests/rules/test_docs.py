"""The documentation is true: its programs run, its tables are those of the code, its links lead somewhere."""

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import pytest

from unimq import registry
from unimq.capabilities import REQUIREMENTS

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"# -> (.*)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start(2))) for m in _FENCED.finditer(text)]


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_tests(block: Block) -> None:
    """Run a block that has tests, as an application's tests: it stands alone."""
    Path("test_page.py").write_text(block.text, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr


def run_python(block: Block, page: Path, names: dict[str, object]) -> None:
    """Run a block; what it prints must be what its comments `# -> text` say, where it has any."""
    code = compile("\n" * block.line + block.text, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, names)  # noqa: S102 - our own documentation
    expected = _PRINTED.findall(block.text)
    if expected:
        assert output.getvalue().splitlines() == expected


def run_shell(block: Block, expected: Block | None) -> None:
    """Run a block that begins with `unimq`; what it prints must be what a block of text says that follows it at once.

    The command line is that of this interpreter. How many spaces are between the columns is not compared.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    # Without the width of a terminal, which libraries of the test run may have put there.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    script = f"set -e -o pipefail\n{block.text}"
    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env={**environment, "PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if expected is not None:
        assert [line.split() for line in done.stdout.splitlines()] == [
            line.split() for line in expected.text.splitlines()
        ]


def is_slow(page: Path) -> bool:
    """Whether its programs start processes, or wait."""
    return any(b.language == "shell" or "\ndef test_" in b.text or "Timer(" in b.text for b in blocks(page))


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if is_slow(page) else []) for page in PAGES if blocks(page)],
    ids=shown,
)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of a page run one after the other, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    schemes = registry.schemes()
    names: dict[str, object] = {"__name__": "__main__"}
    # Classes that the page defines are looked up by their module when a codec resolves their annotations.
    module = ModuleType("page")
    module.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "__main__", module)
    try:
        for block, after in zip_longest(blocks(page), blocks(page)[1:]):
            if block.language == "python" and "\ndef test_" in block.text:
                run_tests(block)
            elif block.language == "python":
                run_python(block, page, module.__dict__)
            elif block.language == "shell" and block.text.startswith("unimq "):
                run_shell(block, after if after is not None and after.language == "text" else None)
    finally:
        for scheme in set(registry.schemes()) - set(schemes):
            registry.unregister(scheme)


def test_only_known_languages_are_fenced() -> None:
    """A block that should be run cannot hide behind a misspelt language."""
    assert {block.language for page in PAGES for block in blocks(page)} <= {"python", "shell", "text", "toml"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The program that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_generated_parts_are_up_to_date(page: Path, generate: ModuleType) -> None:
    """What stands in a page is what `make docs` would write."""
    text = page.read_text("utf-8")
    assert text == generate.renewed(text), "run `make docs`"


def test_tables_stand_where_they_are_looked_for() -> None:
    """The comparison above compares something."""
    assert "<!-- generated: levels -->" in (ROOT / "README.md").read_text("utf-8")
    capabilities = (ROOT / "docs" / "capabilities.md").read_text("utf-8")
    for name in ("levels", "notes", "promises", "limits"):
        assert f"<!-- generated: {name} -->" in capabilities


def test_every_requirement_is_explained() -> None:
    """The page about capabilities has a row for each word that `require` knows."""
    text = (ROOT / "docs" / "capabilities.md").read_text("utf-8")
    assert [name for name in REQUIREMENTS if f"\n| `{name}` | " not in text.partition("<!-- generated")[0]] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file, and a heading of it where it names one."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to every page under docs/."""
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text("utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.parent.name == "decisions":
            assert page.name == "README.md" or f"({page.name})" in decisions, page.name
        elif page != ROOT / "docs" / "README.md":
            assert f"({page.relative_to(ROOT / 'docs')})" in index, page.name
