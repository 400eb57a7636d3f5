"""The group of commands, and what all of them share: exit codes, and errors without tracebacks."""

import os
import sys

import click

import unimq
from unimq.cli import administer, bench, inspect, messages
from unimq.cli.show import EMPTY, FAILED, INTERRUPTED, USAGE, explain

__all__ = ["cli", "run"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the server or the network failed, 2 a wrong URL or argument, 3 the queue was empty.",
)
@click.version_option(unimq.__version__, prog_name="unimq", message="%(prog)s %(version)s")
def cli() -> None:
    """Put, get and look after messages on any backend that unimq knows.

    A URL names backend and queue, such as sqlite:///jobs.db?queue=mail. Commands that need nothing but a URL take it
    from UNIMQ_URL when it is left out. Passwords are masked in everything that is shown.
    """


for _command in (*messages.COMMANDS, *administer.COMMANDS, *inspect.COMMANDS, *bench.COMMANDS):
    cli.add_command(_command)


def run() -> None:
    """Run it with the arguments of the process, and exit."""
    try:
        code = cli.main(prog_name="unimq", standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except unimq.Empty as error:
        explain(error)
        code = EMPTY
    except (unimq.InvalidURL, unimq.InvalidArgument, unimq.Unsupported, unimq.TooLarge) as error:
        explain(error)
        code = USAGE
    except (unimq.UnimqError, OSError) as error:
        explain(error)
        code = FAILED
    sys.exit(code if isinstance(code, int) else 0)
