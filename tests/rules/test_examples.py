"""The example programs do what they say, on any backend: with embedded ones, and with drivers of third parties."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from programs import EXAMPLES, PIPELINE, PRICES, Manager, example

LINES = 60
_LOSSY = '''
"""The spool driver, made forgetful: what is handed out is gone."""
from collections.abc import Sequence
from dataclasses import replace

from spool import SpoolDriver, SpoolSession
from unimq.capabilities import absent


class LossyDriver(SpoolDriver):
    name = "lossy"

    def capabilities(self, url):
        gone = dict.fromkeys(("lease", "extend", "nack", "nack_delay", "delivery_count", "dead_letters"), absent())
        return replace(super().capabilities(url), guarantee="at-most-once", survives_process_death="no", **gone)

    def open(self, url, deadline, *, options, known=None):
        session = super().open(url, deadline, options=options)
        return LossySession(session._root, session.capabilities, session._poll)


class LossySession(SpoolSession):
    def receive(self, queues, limit, lease, deadline, *, ahead=False):
        deliveries = super().receive(queues, limit, 60.0, deadline)
        super().ack(deliveries, deadline)
        return deliveries

    def ack(self, deliveries, deadline):
        return [None] * len(deliveries)


driver = LossyDriver()
'''


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file of lines, each with a word of its own."""
    file = tmp_path / "text.txt"
    file.write_text("".join(f"word{number} and the others\n" for number in range(LINES)), "utf-8")
    return file


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """A directory with two installed packages, each with a driver."""
    site = tmp_path / "site"
    information = site / "drivers-1.0.dist-info"
    information.mkdir(parents=True)
    shutil.copy(EXAMPLES / "spool.py", site)
    (site / "lossy.py").write_text(_LOSSY, "utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: drivers\nVersion: 1.0\n", "utf-8")
    (information / "entry_points.txt").write_text(
        "[unimq.drivers]\nspool = spool:driver\nlossy = lossy:driver\n", "utf-8"
    )
    return site


def word_count(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, str(EXAMPLES / "wordcount.py"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, env=environment)


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The summary's lines, by their titles."""
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.partition("\n\n")[2]
    return {line[:16].strip(): line[17:] for line in last.splitlines()}


def assert_nothing_was_lost(rows: dict[str, str]) -> None:
    assert rows["jobs"].startswith(f"{LINES}, done {LINES}:")
    held = rows["killed"].removeprefix("consumer 1, holding line ")
    assert held.isdigit()
    assert rows["delivered again"] == f"1 (line {held})"
    assert rows["lost"] == "0"
    assert rows["words"] == f"{LINES * 4}, counted directly {LINES * 4}: equal, word by word"


def test_a_killed_consumer_loses_nothing(text: Path) -> None:
    """The job that the killed consumer held is done by the other, and the totals agree."""
    assert_nothing_was_lost(summary(word_count(text)))


def test_it_runs_on_the_driver_of_a_third_party(text: Path, third_party: Path, tmp_path: Path) -> None:
    """The same program, with nothing but another URL, on the example driver, found by its entry point."""
    done = word_count(text, "--url", f"spool:///{tmp_path}/box", path=third_party)
    assert_nothing_was_lost(summary(done))
    assert [item.name for item in (tmp_path / "box").iterdir()] == []


def test_at_most_once_says_what_was_lost(text: Path, third_party: Path, tmp_path: Path) -> None:
    """Where delivery is at-most-once, the job that the killed consumer held is lost, and named."""
    rows = summary(word_count(text, "--url", f"lossy:///{tmp_path}/box", path=third_party))
    held = rows["killed"].removeprefix("consumer 1, holding line ")
    assert held.isdigit()
    assert rows["lost"] == f"1 (line {held}) (delivery is at-most-once)"
    assert rows["delivered again"] == "0"
    assert rows["words"] == f"{LINES * 4 - 4}, counted directly {LINES * 4 - 4}: equal, word by word"


def test_plain_sockets_lose_what_a_killed_consumer_had(text: Path) -> None:
    """On push-pull over a path, whichever consumer binds: what was not lost is counted, and what was lost is told."""
    with TemporaryDirectory(prefix="unimq-") as folder:  # a short path, as sockets need it
        rows = summary(word_count(text, "--url", f"zeromq+ipc://{folder}?pattern=push-pull&prefetch=1"))
    done = int(rows["jobs"].split()[2].rstrip(":"))
    lost = int(rows["lost"].split()[0])
    assert done > 0
    assert done + lost == LINES
    assert rows["words"] == f"{done * 4}, counted directly {done * 4}: equal, word by word"


def test_a_queue_that_stays_in_its_process_is_refused(text: Path) -> None:
    """`memory://` cannot reach other processes, and the program says so."""
    done = word_count(text, "--url", "memory://")
    assert done.returncode == 1
    assert "memory://: what another process puts does not arrive here; choose a URL that processes share" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["missing.txt"], "No such file"),
        ([os.devnull], "no lines"),
        ([__file__, "--url", "sqlit:///x"], "did you mean 'sqlite'"),
    ],
)
def test_mistakes_have_no_traceback(arguments: list[str], reason: str) -> None:
    """A wrong file or URL is told in one line."""
    done = word_count(*arguments)
    assert done.returncode in {1, 2}
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_worker_that_is_stopped_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """And no more: what it left is there when it is started again."""
    manager = Manager(f"sqlite:///{tmp_path}/mail.db?queue=mail")
    manager.put(3)
    assert manager.run_until_begun(1) == ["begun 0", "sent 0", "stopped, done 1"]
    assert manager.run_until_begun(2) == ["begun 1", "sent 1", "begun 2", "sent 2", "stopped, done 2"]


@pytest.mark.parametrize("url", ["", "--url=memory://shop/prices"])
def test_who_asks_gets_an_answer(url: str) -> None:
    """Of one call, of many, and of one that is refused."""
    assert example("prices.py", *filter(None, [url]), logs=True) == PRICES


def test_the_web_application_has_its_work_done() -> None:
    """Each request is one mail, sent by the worker process, which ends by itself when it is told to."""
    assert example("webapp.py", "--requests", "20")[1:] == ["mails 20, of 20 users; the worker ended with 0"]


@pytest.mark.parametrize("url", ["", "--url=memory://service/jobs"])
def test_the_service_does_each_job_once(url: str) -> None:
    """With 200 tasks, which really work at the same time."""
    told = example("service.py", "--jobs", "1000", *filter(None, [url]))[-1]
    assert told.startswith("jobs 1000, twice 0, left 0, at the same time ")
    assert int(told.rpartition(" ")[2]) > 50


def test_the_service_stops_by_a_signal() -> None:
    """Within a second or so, and with a report."""
    command = [sys.executable, str(EXAMPLES / "service.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            assert service.stdout.readline() == "200 tasks work\n"
            time.sleep(0.5)  # into the wait of its tasks; any moment will do
            service.terminate()
            assert service.stdout.readline() == "jobs 0, twice 0, left 0, at the same time 0\n"
            assert service.wait(20) == 0
        finally:
            service.kill()


@pytest.mark.parametrize("url", ["", "--url=memory://pipeline"])
def test_the_pipeline_gives_up_what_is_wrong_and_mends_the_rest(url: str) -> None:
    """The line that is none is rejected, the missing price is given up and comes back, and the total is right."""
    assert example("pipeline.py", *filter(None, [url])) == PIPELINE
