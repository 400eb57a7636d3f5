"""The command line `unimq`, for people who operate queues. It needs the extra `cli` (click and rich)."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the script `unimq`."""
    try:
        from unimq.cli.app import cli  # noqa: PLC0415 - click may be missing

        cli.main(prog_name="unimq")  # rich is imported when there is something to draw: it may be missing too
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"click", "rich"}:
            raise
        sys.stderr.write(
            f"unimq: the command line needs the package {package!r}: pip install 'click>=8.1' 'rich>=13'\n"
        )
        sys.exit(1)
    except KeyboardInterrupt:  # while it was starting
        sys.exit(130)
