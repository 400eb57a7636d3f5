"""Other programs on the same tubes: one that uses greenstalk, and one in Ruby that uses beaneater."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import greenstalk
import pytest
from beanstalkd.recipes import PLAIN
from harness import Recipe, Run, Running
from harness.servers import InContainer

import unimq
from unimq.testing.lab import PATIENCE, fresh_name

ODD = bytes(range(256)) + b"\r\n\0"

PUT = """
puts Beaneater.new("127.0.0.1:11300").tubes[ARGV[0]].put(Base64.decode64(ARGV[1]), pri: ARGV[2].to_i, ttr: 33)[:id]
"""
TAKE = """
client = Beaneater.new("127.0.0.1:11300")
client.tubes.watch!(ARGV[0])
job = client.tubes.reserve(20)
puts [job.id, "=" + Base64.strict_encode64(job.body), job.stats.pri, job.ttr, job.stats.reserves].join(" ")
ARGV[1] == "release" ? job.release : job.delete
"""


@pytest.fixture
def url(shared: Callable[[Recipe], str]) -> str:
    """A queue of its own on the server."""
    return shared(PLAIN) + fresh_name()


@pytest.fixture
def stalk(url: str) -> Iterator[greenstalk.Client]:
    """A program as greenstalk's users write it."""
    host = unimq.URL.parse(url).hosts[0]
    name = url.rpartition("/")[2]
    with greenstalk.Client((host.name, host.port or 11300), encoding=None, use=name, watch=name) as client:
        yield client


class TestGreenstalk:
    """A bare greenstalk program at the other end."""

    def test_it_reads_what_unimq_puts(self, url: str, stalk: greenstalk.Client) -> None:
        """The encoded body as it is, the lease as its TTR, and the default priority as its own."""
        with unimq.Queue[Any](f"{url}?lease=45") as ours:
            receipt = ours.put({"a": 1})
            job = stalk.reserve(PATIENCE)
            told = stalk.stats_job(job)
            assert (job.body, str(job.id)) == (b'{"a":1}', receipt.id)
            assert (told["ttr"], told["pri"], told["reserves"]) == (45, greenstalk.DEFAULT_PRIORITY, 1)
            stalk.delete(job)
            assert ours.size() == 0

    def test_unimq_reads_what_it_puts(self, url: str, stalk: greenstalk.Client) -> None:
        """Any bytes, with its TTR for the lease."""
        with unimq.Queue(f"{url}?codec=raw") as ours:
            number = stalk.put(ODD, ttr=7)
            message = ours.get(timeout=PATIENCE)
            assert (message.body, message.id, message.delivery_count) == (ODD, str(number), 1)
            assert message.lease_remaining is not None
            assert 5 < message.lease_remaining <= 7
            message.ack()
            with pytest.raises(greenstalk.TimedOutError):
                stalk.reserve(0)

    def test_a_count_goes_on_whoever_took_it(self, url: str, stalk: greenstalk.Client) -> None:
        """The server counts, for both."""
        with unimq.Queue(url) as ours:
            ours.put("x")
            stalk.release(stalk.reserve(PATIENCE))
            message = ours.get(timeout=PATIENCE)
            assert (message.delivery_count, message.redelivered) == (2, True)
            message.nack()
            job = stalk.reserve(PATIENCE)
            assert stalk.stats_job(job)["reserves"] == 3

    def test_its_finer_priorities_are_kept(self, url: str, stalk: greenstalk.Client) -> None:
        """They are none of the ten, so unimq tells none; what it gives back has the one that was put."""
        with unimq.Queue(f"{url}?codec=raw") as ours:
            stalk.put(b"later", priority=70_001)
            stalk.put(b"first", priority=3)
            message = ours.get(timeout=PATIENCE)
            assert (message.body, message.priority) == (b"first", None)
            message.nack()
            assert stalk.stats_job(stalk.reserve(PATIENCE))["pri"] == 3

    def test_what_it_buried_is_not_delivered_until_it_is_kicked(self, url: str, stalk: greenstalk.Client) -> None:
        """It is taken then, like any other."""
        with unimq.Queue(url) as ours:
            ours.put("x")
            stalk.bury(stalk.reserve(PATIENCE))
            with pytest.raises(unimq.Empty):
                ours.get(timeout=0)
            stalk.kick(1)
            assert ours.get(timeout=PATIENCE).body == "x"

    def test_a_messages_native_form_is_its_own(self, url: str, stalk: greenstalk.Client) -> None:
        """The escape hatch: a job that greenstalk's calls take."""
        with unimq.Queue(f"{url}?codec=raw") as ours:
            stalk.put(b"x")
            message = ours.get(timeout=PATIENCE)
            assert isinstance(message.native, greenstalk.Job)
            assert stalk.stats_job(message.native)["state"] == "reserved"


class Beaneater:
    """Programs that use beaneater, run in the container of a server."""

    def __init__(self, server: InContainer) -> None:
        self._container = server._docker

    def run(self, program: str, *arguments: str) -> list[str]:
        """The words that it printed."""
        words = ["timeout", "30", "ruby", "-rbeaneater", "-rbase64", "-e", program, *arguments]
        code, output = self._container.exec_run(words)
        assert code == 0, output.decode(errors="replace")
        return str(output.decode()).split()


@pytest.fixture(scope="class")
def server(run: Run, private: Callable[[Recipe], Running]) -> Running:
    """One whose container has Ruby and beaneater."""
    server = private(PLAIN)
    if not isinstance(server, InContainer):
        reason = "NOT TESTED: beaneater is in the server's image, and this one is a process: run this by .ci/engine"
        (pytest.fail if run.mode == "require" else pytest.skip)(reason)
    return server


class TestBeaneater:
    """A Ruby program at the other end."""

    @pytest.fixture
    def url(self, server: Running) -> str:
        return server.url + fresh_name()

    @pytest.fixture
    def ruby(self, server: InContainer) -> Beaneater:
        return Beaneater(server)

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_it_reads_what_unimq_puts(self, url: str, ruby: Beaneater, body: bytes) -> None:
        """The bytes as they are, and the lease as its TTR; what it deletes is gone."""
        with unimq.Queue(f"{url}?codec=raw&lease=45") as ours:
            receipt = ours.put(body)
            number, said, priority, ttr, reserves = ruby.run(TAKE, ours.name)
            assert (number, base64.b64decode(said.removeprefix("="))) == (receipt.id, body)
            assert (priority, ttr, reserves) == ("65536", "45", "1")
            assert ours.size() == 0

    @pytest.mark.parametrize("body", [ODD, b""], ids=["all bytes", "nothing"])
    def test_unimq_reads_what_it_puts(self, url: str, ruby: Beaneater, body: bytes) -> None:
        """The bytes as they are, with its TTR for the lease."""
        with unimq.Queue(f"{url}?codec=raw") as ours:
            (number,) = ruby.run(PUT, ours.name, base64.b64encode(body).decode(), "65536")
            message = ours.get(timeout=PATIENCE)
            assert (message.body, message.id, message.priority) == (body, number, 4)
            assert message.lease_remaining is not None
            assert 25 < message.lease_remaining <= 33
            message.ack()

    def test_what_it_releases_comes_again(self, url: str, ruby: Beaneater) -> None:
        """With a count of two."""
        with unimq.Queue(f"{url}?codec=raw") as ours:
            ours.put(b"x")
            ruby.run(TAKE, ours.name, "release")
            assert ours.get(timeout=PATIENCE).delivery_count == 2
