"""The example programs of the documentation, run with any URL, and what they print where all is well."""

import subprocess
import sys
from pathlib import Path

__all__ = ["EXAMPLES", "PIPELINE", "PRICES", "Manager", "example"]

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

PIPELINE = [
    "lines.dead: 'no number': 'no number' has no number",
    "orders.dead: {'what': 'coffee', 'number': 3}: nacked after 3 deliveries, the most that is allowed",
    "put back: 1",
    "total: 106",
]
PRICES = ["tea: 12", "salt and sugar: 7", "gold: nobody sells gold"]


def example(name: str, *arguments: str, logs: bool = False) -> list[str]:
    """The lines that an example prints; `logs`: it logs something as well, which is not looked at."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert logs or done.stderr == ""
    return done.stdout.splitlines()


class Manager:
    """What a process manager does with `mailer.py`, of which it reads what it prints."""

    def __init__(self, url: str) -> None:
        self._command = [sys.executable, str(EXAMPLES / "mailer.py"), "--url", url]

    def put(self, mails: int) -> None:
        """Have so many mails to be sent."""
        subprocess.run([*self._command, "--put", str(mails)], check=True, timeout=50)

    def run_until_begun(self, mails: int) -> list[str]:
        """Start it, and send SIGTERM when it has begun the last of so many; what it printed."""
        told: list[str] = []
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    told.append(line.strip())
                    if line.startswith("begun") and sum(one.startswith("begun") for one in told) == mails:
                        process.terminate()
                assert process.wait(20) == 0
            finally:
                process.kill()
        return told
