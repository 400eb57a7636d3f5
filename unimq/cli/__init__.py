"""The command line `unimq`, for people who operate queues. It needs the extra `cli` (click and rich)."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the script `unimq`."""
    try:
        from unimq.cli.app import run  # noqa: PLC0415 - click may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write(f"unimq: the command line needs the package {error.name!r}: pip install 'unimq[cli]'\n")
        sys.exit(1)
    run()
