"""The group of commands, and what all of them share: exit codes, masked mistakes, and errors without tracebacks."""

import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

import unimq
from unimq.cli import administer, archive, bench, check, dead, declared, move, put, serve, take, top, work
from unimq.cli.show import explain

__all__ = ["cli"]

FAILED: Final = 1
USAGE: Final = 2
EMPTY: Final = 3
INTERRUPTED: Final = 130

_YOURS: Final = (unimq.InvalidURL, unimq.InvalidArgument, unimq.Unsupported, unimq.TooLarge)
_A_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://).+", re.DOTALL)


class Commands(click.Group):
    """The group `unimq`: it ends with the exit codes that its help names."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run it with the arguments of the process, or with `args`, and exit."""
        _take_any_text()
        given = (args[0] if args else extra.get("args")) or sys.argv[1:]
        sys.exit(_outcome(lambda: super(Commands, self).main(*args, **{**extra, "standalone_mode": False}), given))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A reader that has seen enough is no failure, and click would make it one."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The interpreter must not complain at its end either about what it cannot flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None


def _take_any_text() -> None:
    """A body may have characters that the encoding of standard output has not."""
    output: Any = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")


def _outcome(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    """The exit code of `command`; what went wrong is said on standard error."""
    try:
        code = command()
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        click.echo(_masked(shown.getvalue(), arguments), err=True, nl=False)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (unimq.UnimqError, OSError) as error:
        explain(error)
        if isinstance(error, unimq.Empty):
            return EMPTY
        return USAGE if isinstance(error, _YOURS) else FAILED
    return code if isinstance(code, int) else 0


def _masked(text: str, arguments: Sequence[str]) -> str:
    """What click says of an argument that is in the wrong place: if that is a URL, nothing of it but its scheme."""
    for found in filter(None, map(_A_URL.search, arguments)):
        for written in (found[0], repr(found[0])[1:-1]):
            text = text.replace(written, f"{found[1]}***")
    return text


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the server or the way there failed, 2 a wrong URL, option or argument, 3 nothing to "
    "get or to peek at, 130 interrupted. UNIMQ_DEBUG=1 adds the traceback to an error.",
)
@click.version_option(unimq.__version__, prog_name="unimq", message="%(prog)s %(version)s")
def cli() -> None:
    """Put, get and look after messages on any backend that unimq knows.

    A URL names backend and queue, such as 'sqlite:///jobs.db?queue=mail'; quote it for the shell. Every command takes
    its (first) URL from the environment variable UNIMQ_URL when it is left out. Passwords are masked in everything
    that is shown. Data goes to standard output, everything else to standard error.
    """


_MODULES: Final = (put, take, administer, declared, check, dead, move, archive, top, bench, serve, work)
for _command in (one for module in _MODULES for one in module.COMMANDS):
    cli.add_command(_command)
