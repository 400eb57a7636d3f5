"""A program in Perl on the same queues, with the client that memcached's users have there."""

import base64
from collections.abc import Callable, Iterator

import pytest
from harness import Recipe, Run, Running
from harness.servers import InContainer

import unimq
from unimq.testing.lab import PATIENCE, fresh_name

ODD = bytes(range(256)) + b"\r\n\0"

_CLIENT = 'my $m = Cache::Memcached->new({servers => ["127.0.0.1:22201"], compress_threshold => 0}); '
PUT = _CLIENT + 'print $m->set($ARGV[0], decode_base64($ARGV[1])) ? "stored" : "refused";'
GET = _CLIENT + 'my $v = $m->get($ARGV[0]); print defined $v ? "=" . encode_base64($v, "") : "nothing";'


@pytest.fixture(scope="module")
def server(run: Run, memcacheq: Recipe) -> Iterator[InContainer]:
    """One whose container has Perl and its client."""
    with run.private(memcacheq) as server:
        if not isinstance(server, InContainer):
            reason = "NOT TESTED: the Perl client is in the server's image, and this one is a process"
            (pytest.fail if run.mode == "require" else pytest.skip)(reason)
        yield server


@pytest.fixture
def perl(server: InContainer) -> Callable[..., str]:
    """Runs a program, and returns what it printed."""

    def perl(program: str, *arguments: str) -> str:
        words = ["timeout", "30", "perl", "-MCache::Memcached", "-MMIME::Base64", "-e", program, *arguments]
        code, (output, told) = server._docker.exec_run(words, demux=True)  # it warns without the service names
        assert code == 0, told
        return str((output or b"").decode())

    return perl


@pytest.fixture
def queue(server: Running) -> Iterator["unimq.Queue[bytes]"]:
    with unimq.Queue(f"{server.url.partition('?')[0]}{fresh_name()}?codec=raw") as queue:
        yield queue


@pytest.mark.parametrize("body", [ODD, b"plain"], ids=["all bytes", "text"])
class TestPerl:
    """Cache::Memcached at the other end."""

    def test_it_reads_what_unimq_puts(self, queue: "unimq.Queue[bytes]", perl: Callable[..., str], body: bytes) -> None:
        """Byte for byte, and what it read is gone."""
        queue.put(body)
        said = perl(GET, queue.name)
        assert base64.b64decode(said.removeprefix("=")) == body
        assert perl(GET, queue.name) == "nothing"

    def test_unimq_reads_what_it_puts(self, queue: "unimq.Queue[bytes]", perl: Callable[..., str], body: bytes) -> None:
        """Byte for byte; its messages have no headers and no id."""
        assert perl(PUT, queue.name, base64.b64encode(body).decode()) == "stored"
        with queue.get(timeout=PATIENCE) as message:
            assert (message.body, dict(message.headers), message.id) == (body, {}, None)
