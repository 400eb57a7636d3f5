"""What all commands share: errors in a line, exit codes, masked secrets, help, and terminals of any kind."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import unimq

SECRET = "hunter2-correct-horse"
COMMANDS = (
    "bench",
    "capabilities",
    "check",
    "diff",
    "export",
    "get",
    "import",
    "move",
    "peek",
    "purge",
    "put",
    "queues",
    "stats",
    "top",
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "sqlit:///x.db?queue=a"], "did you mean 'sqlite'"),
        (["get", "sqlite:///x.db?queue=a&lese=3s"], "did you mean 'lease'"),
        (["get", "sqlite:///x.db?queue=a&lease=soon"], "must be a duration"),
        (["get", "sqlite:///x.db"], "no queue is named"),
        (["get", "memory:///a", "--timeout", "soon"], "must be a duration"),
        (["get"], "a URL is missing"),
        (["git"], "No such command"),
        (["--gut"], "No such option"),
    ],
)
def test_a_mistake_is_explained(run, arguments: list[str], said: str) -> None:
    """Exit code 2, nothing on standard output, and what to do."""
    done = run(*arguments, code=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_an_outage_is_one_line(run, odd) -> None:
    """Exit code 1; with UNIMQ_DEBUG the traceback."""
    odd.refuses = unimq.ConnectError("odd://x: nobody listens")
    assert run("put", "odd://x/a", "1", code=1).stderr == "unimq: odd://x: nobody listens\n"
    assert "Traceback" in run("put", "odd://x/a", "1", code=1, UNIMQ_DEBUG="1").stderr


def test_a_bug_is_no_mistake_of_the_user(run, odd) -> None:
    """What nobody foresaw keeps its traceback."""
    odd.refuses = ZeroDivisionError("a bug")
    with pytest.raises(AssertionError, match="ZeroDivisionError|assert 1 == 0"):
        run("put", "odd://x/a", "1")


@pytest.mark.parametrize(
    "url",
    [
        f"sqlit://ada:{SECRET}@host/jobs",
        f"memory://ada:{SECRET}@host/jobs?nonsense=1",
        f"memory://ada:{SECRET}@host:port/jobs",
        f"memory://ada:{SECRET}#x@host/jobs",
        f"memory://ada:{SECRET}@host/jobs?profile=none",
        f"memory://host/jobs?api_key={SECRET}",
        f"memory://ada:{SECRET}'\"\\@host/jobs",
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["{}"],
        ["get", "{}"],
        ["get", "{}", "--timeout", "soon"],
        ["get", "memory:///a", "{}"],
        ["get", "--count", "{}"],
        ["get", "memory:///a", "--timeout={}"],
        ["put", "memory:///a", "1", "--file", "{}"],
        ["put", "memory:///a", "1", "--header", "{}"],
        ["put", "memory:///a", "{}"],
        ["put", "1", "{}"],
        ["check", "{}"],
        ["capabilities", "{}"],
        ["diff", "memory://", "{}"],
        ["dead", "{}"],
        ["bench", "memory://", "--size", "{}"],
    ],
)
def test_no_password_is_ever_shown(run, url: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on success nor in any error, nor with the traceback, wherever the URL was put."""
    from click.testing import CliRunner

    from unimq.cli.app import cli

    given = [argument.format(url) for argument in arguments]
    done = CliRunner().invoke(cli, given, env={"UNIMQ_DEBUG": "1", "UNIMQ_URL": url})
    assert SECRET not in done.output


def test_every_command_has_a_help_with_an_example(run) -> None:
    """And the group explains the exit codes."""
    top = run("--help").stdout
    assert "Exit codes: 0 done" in top
    assert "..." not in top.partition("Commands:")[2]
    for command in COMMANDS:
        text = run(command, "--help").stdout
        assert f"Example: unimq {command}" in text
        assert "[URL]" in text
    for command in ("list", "show", "redrive", "purge"):
        assert f"Example: unimq dead {command}" in run("dead", command, "--help").stdout
    assert run("--version").stdout == f"unimq {unimq.__version__}\n"


def test_the_help_is_quick_and_needs_no_rich(process) -> None:
    """The packages that draw are imported when there is something to draw."""
    code = "import sys; from unimq.cli.app import cli; sys.exit('rich' in sys.modules or 'asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
    start = time.perf_counter()
    process("--help")
    assert time.perf_counter() - start < 5  # 0.12 s on an idle machine: this finds what hangs, not what is slow


@pytest.mark.parametrize(("package", "arguments"), [("click", "--help"), ("rich", "capabilities memory://")])
def test_missing_packages_are_named(package: str, arguments: str) -> None:
    """The command line says what to install."""
    code = f"import sys; sys.argv[1:] = {arguments.split()}; sys.modules['{package}'] = None\n"
    code += "import unimq.cli; unimq.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 1
    told = f"unimq: the command line needs the package '{package}': pip install 'click>=8.1' 'rich>=13'\n"
    assert done.stderr == told


def test_an_import_that_is_broken_is_not_hidden() -> None:
    """Only click and rich are extras."""
    code = "import sys; sys.modules['unimq.cli.show'] = None; from unimq.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert "ModuleNotFoundError" in done.stderr


def test_a_closed_pipe_is_silent(process) -> None:
    """Also for what rich draws."""
    command = f"set -o pipefail; {sys.executable} -m unimq.cli capabilities memory:// | true"
    for _ in range(3):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603, S607
        assert (done.stderr, done.returncode) == ("", 0)


def test_colours_are_for_terminals(terminal, process) -> None:
    """And for those who want them."""
    coloured = terminal("capabilities", "memory://", NO_COLOR="")
    assert coloured.end() == 0
    assert "\x1b[32mnative" in coloured.shown
    plain = terminal("capabilities", "memory://", NO_COLOR="1")
    assert plain.end() == 0
    assert "\x1b[3" not in plain.shown
    assert "\x1b" not in process("capabilities", "memory://").stdout
    error = terminal("capabilities", "nothing://", NO_COLOR="1")
    assert error.end() == 2
    assert "\x1b" not in error.shown


def test_a_pipe_gets_tables_that_are_not_folded(run, odd) -> None:
    """However long a note is; no line ends in blanks."""
    from unimq.capabilities import native

    odd.changed = {"peek": native("x " * 300 + "end")}
    shown = run("capabilities", "odd://x").stdout
    assert "x x end\n" in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


@pytest.mark.parametrize("columns", ["36", "44", "60", "200"])
def test_no_terminal_is_too_narrow(run, columns: str) -> None:
    """What does not fit side by side stands below each other, and nothing is left out."""
    for command in (
        ["capabilities", "sqlite:///x.db"],
        ["diff", "sqlite:///x.db", "memory://"],
        ["check", "memory://"],
    ):
        shown = run(*command, COLUMNS=columns).stdout
        assert max(map(len, shown.splitlines()[2:])) <= int(columns)
        for word in ("survives_process_death",) if command[0] != "check" else ("authenticate", "settled"):
            assert word in shown


def test_a_put_says_that_it_made_the_file(run, tmp_path: Path) -> None:
    """Once, on standard error: its name may have been a typo. A look makes none."""
    url = f"sqlite:///{tmp_path}/new.db?queue=jobs"
    assert "there is no sqlite store" in run("stats", url, code=1).stderr
    assert run("put", url, "1").stderr == f"{tmp_path}/new.db was not there, and was made\n"
    assert run("put", url, "2").stderr == ""


def test_a_backend_in_this_process_is_told_of(run) -> None:
    """What another program put is not there; `capabilities` looks at nothing."""
    url = "memory://told-of/jobs"
    for command in (["put", url, "1"], ["get", url], ["queues", url], ["stats", url]):
        assert "lives in this process only" in run(*command).stderr
    assert run("capabilities", url).stderr == ""
