"""Group 10: servers that die, come back, stall and lose connections. For suites that can do that to one.

A conformance class that has a fixture `server` gets these cases:

```python
class TestMine(QueueConformance):
    @pytest.fixture
    def url(self): ...

    @pytest.fixture
    def server(self) -> Server: ...
```
"""

import contextlib
import math
import time
from collections.abc import Generator
from typing import Any, Final, Protocol

import pytest

from unimq.errors import (
    AuthenticationFailed,
    ConnectError,
    ConnectionLost,
    Empty,
    LeaseLost,
    Timeout,
    UnimqError,
)
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, Lab
from unimq.url import URL, Host

__all__ = ["Faults", "Server"]

_AWAY: Final[tuple[type[UnimqError], ...]] = (ConnectError, ConnectionLost, Timeout)
_NOBODY = Host("127.0.0.1", 1)
"""Where nobody listens."""


class Server(Protocol):
    """Ways to break the server under test. Each returns when it is done; the case undoes what it did."""

    def kill(self) -> None:
        """End it as kill -9 does, and leave it down. Harmless when it is down."""

    def start(self) -> None:
        """Start it on the same address, with the store it had, and wait until it answers. Harmless when it runs."""

    def pause(self) -> None:
        """Let it answer nothing while its connections stay open, as SIGSTOP does."""

    def resume(self) -> None:
        """Let it go on. Harmless when it was not paused."""

    def cut(self) -> None:
        """Break the connections that are open, without a farewell; new ones can be made at once."""


class Faults(Cases):
    """What breaks is told in time, is mended without help, and loses nothing that was promised."""

    async def test_a_put_to_a_dead_server_fails_in_time(self, lab: Lab, server: Server) -> None:
        """With an error that says whether the message may be stored; it was not."""
        queue = lab.queue(options={"connect_timeout": "1s"})
        await queue.ping()
        with _put_right(server):
            server.kill()
            start = time.monotonic()
            with pytest.raises(_AWAY) as caught:
                await queue.put("x", timeout=1)
            assert time.monotonic() - start < 1 + PATIENCE / 4
            assert caught.value.retryable
        if not caught.value.in_doubt:
            await lab.queue().ping()  # one that has just begun is slow at first
            await lab.nothing(lab.queue())

    async def test_a_get_from_a_dead_server_ends_in_time(self, lab: Lab, server: Server) -> None:
        """At its timeout, with the reason why nothing came."""
        queue = lab.queue(options={"connect_timeout": "1s"})
        await queue.ping()
        with _put_right(server):
            server.kill()
            start = time.monotonic()
            with pytest.raises((*_AWAY, Empty)):
                await queue.get(timeout=0.5)
            assert time.monotonic() - start < 0.5 + 1 + PATIENCE / 4

    async def test_a_restarted_server_is_used_again(self, lab: Lab, server: Server) -> None:
        """By the same queue object, with no help and no error that could be avoided."""
        queue = lab.queue()
        await queue.put("before")
        await (await lab.receive(queue)).ack()
        with _put_right(server):
            server.kill()
            server.start()
            await _until_put(lab, queue, "after")
            assert (await lab.receive(queue)).body == "after"

    async def test_a_get_waits_for_the_server_to_return(self, lab: Lab, server: Server) -> None:
        """A get that waits while the server is restarted has the message that is put afterwards."""
        queue = lab.queue()
        await queue.ping()
        waiting = lab.start(queue.get(timeout=2 * PATIENCE))
        await lab.sleep(0.1)
        with _put_right(server):
            server.kill()
            await lab.sleep(0.1)
            assert not waiting.done
            server.start()
            await _until_put(lab, lab.queue(), "after")
            message = await waiting.result(3 * PATIENCE)
            assert message.body == "after"
            await message.ack()

    @needs("confirmed", survives_server_restart="yes")
    async def test_what_is_confirmed_survives_the_server(self, lab: Lab, server: Server) -> None:
        """Every put that returned is there after kill -9 and a restart."""
        queue = lab.queue()
        for number in range(20):
            await queue.put(number)
        with _put_right(server):
            server.kill()
            server.start()
            assert sorted(await lab.bodies(lab.queue(), 20)) == list(range(20))

    @needs("confirmed", "at-least-once", survives_server_restart="yes")
    async def test_nothing_is_lost_under_load(self, lab: Lab, server: Server) -> None:
        """Producers and consumers go on while the server is killed and restarted; what was confirmed is received."""
        queue = lab.queue(lease=2.0) if lab.capabilities.lease else lab.queue()
        stored: set[int] = set()
        found: set[int] = set()
        ends = give_up = math.inf  # until the server is there again, however long that takes

        async def produce(first: int) -> None:
            number = first
            while time.monotonic() < ends:
                number += 2
                try:
                    await queue.put(number, timeout=5)
                except _AWAY:
                    await lab.sleep(0.05)
                else:
                    stored.add(number)

        async def consume() -> None:
            while (now := time.monotonic()) < give_up and not (now > ends + 1 and stored <= found):
                with contextlib.suppress(*_AWAY, Empty, LeaseLost):
                    async with await queue.get(timeout=0.3) as message:
                        found.add(message.body)

        running = [lab.start(part) for part in (produce(0), produce(1), consume(), consume())]
        with _put_right(server):
            await lab.sleep(1.0)
            server.kill()
            await lab.sleep(0.3)
            server.start()
            ends = time.monotonic() + 1.5
            give_up = ends + 2 * PATIENCE
            for part in running:
                await part.result(4 * PATIENCE)
        assert stored
        assert stored - found == set()

    async def test_a_cut_connection_is_replaced(self, lab: Lab, server: Server) -> None:
        """What was idle when it broke is not noticed by its next user."""
        queue = lab.queue()
        await queue.put("before")
        await (await lab.receive(queue)).ack()
        server.cut()
        await lab.sleep(0.1)
        await _until_put(lab, queue, "after")
        assert (await lab.receive(queue)).body == "after"

    async def test_a_get_goes_on_after_a_cut(self, lab: Lab, server: Server) -> None:
        """The connection broke under it; it has the next message all the same."""
        queue = lab.queue()
        waiting = lab.start(queue.get(timeout=PATIENCE))
        await lab.sleep(0.2)
        server.cut()
        await lab.sleep(0.1)
        await _until_put(lab, lab.queue(), "x")
        message = await waiting.result(2 * PATIENCE)
        assert message.body == "x"
        await message.ack()

    @needs("kept-once-received")
    async def test_what_was_in_hand_at_a_cut_can_be_had(self, lab: Lab, server: Server) -> None:
        """Either the ack still works, or it raises `LeaseLost` and the message is delivered again."""
        queue = lab.queue(lease=1.0) if lab.capabilities.lease else lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        server.cut()
        await lab.sleep(0.1)
        try:
            await message.ack()
        except (LeaseLost, ConnectionLost):
            assert (await lab.receive(queue)).body == "x"
        else:
            await lab.nothing(queue, 0.2)

    async def test_a_stalled_server_hangs_nobody(self, lab: Lab, server: Server) -> None:
        """A put and a get end at their timeouts; when the server goes on, so do they."""
        queue = lab.queue(options={"timeout": "1s", "connect_timeout": "1s"})
        await queue.ping()
        with _put_right(server):
            server.pause()
            for use in (lambda: queue.put("x", timeout=0.5), lambda: queue.get(timeout=0.5), queue.ping):
                start = time.monotonic()
                with pytest.raises((*_AWAY, Empty)):
                    await use()
                assert time.monotonic() - start < 2 + PATIENCE / 4
            server.resume()
            await _until_put(lab, queue, "after")
            seen: Any = None
            while seen != "after":  # the put that timed out may have been stored
                async with await lab.receive(queue) as message:
                    seen = message.body

    async def test_nobody_there_is_told_in_time(self, lab: Lab) -> None:
        """A wrong port is a `ConnectError`, for a put, a get and a ping, within the connect's deadline."""
        if not lab.url.hosts:
            pytest.skip("the URL has no host")
        previous, lab.url = lab.url, lab.url.with_host(_NOBODY)
        try:
            queue = lab.queue(options={"connect_timeout": "500ms"})
            for use in (lambda: queue.put("x"), lambda: queue.get(timeout=0.3), queue.ping):
                start = time.monotonic()
                with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1"):
                    await use()
                assert time.monotonic() - start < PATIENCE / 2
        finally:
            lab.url = previous

    async def test_the_second_host_is_used_when_the_first_is_dead(self, lab: Lab) -> None:
        """Puts and gets succeed, the same queue being on the host that lives."""
        if len(lab.url.hosts) != 1:
            pytest.skip("the URL has not one host")
        previous, lab.url = lab.url, _with_hosts(lab.url, (_NOBODY, lab.url.hosts[0]))
        try:
            queue = lab.queue()
            for number in range(4):
                await queue.put(number)
            assert sorted(await lab.bodies(queue, 4)) == [0, 1, 2, 3]
        finally:
            lab.url = previous

    async def test_a_wrong_password_is_told(self, lab: Lab) -> None:
        """`AuthenticationFailed`, without the password."""
        if lab.url.password is None:
            pytest.skip("the URL has no password")
        previous, lab.url = lab.url, lab.url.with_credentials(lab.url.user, "wrong-hunter2")
        try:
            with pytest.raises(AuthenticationFailed) as caught:
                await lab.queue().put("x")
            assert "hunter2" not in str(caught.value)
        finally:
            lab.url = previous


@contextlib.contextmanager
def _put_right(server: Server) -> Generator[None]:
    """Leave the server as it was, whatever the case came to."""
    try:
        yield
    finally:
        server.resume()
        server.start()


def _with_hosts(url: URL, hosts: tuple[Host, ...]) -> URL:
    return URL(
        url.scheme,
        transport=url.transport,
        user=url.user,
        password=url.password,
        hosts=hosts,
        path=url.path,
        options=url.options,
    )


async def _until_put(lab: Lab, queue: Any, body: str) -> None:
    """Put, once it works: a server that has just come back may refuse a moment longer."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            await queue.put(body)
        except UnimqError:
            if time.monotonic() > until:
                raise
            await lab.sleep(0.1)
        else:
            return
