"""Signs of life: who vanishes without a word is noticed, on both sides, and who lives is left alone."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Recipe, Running

import unimq
from unimq.hooks import Hooks
from unimq.testing.lab import PATIENCE, fresh_name

HOLD = """
import sys, time, unimq
queue = unimq.Queue(sys.argv[1])
message = queue.get(timeout=30)
print(message.body, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], broker: Recipe) -> Running:
    return private(broker)


class TestHeartBeats:
    """With signs of life agreed for every second."""

    @pytest.fixture
    def url(self, server: Running) -> Iterator[str]:
        yield f"{server.url}/{fresh_name()}?heart_beat=1s"
        server.resume()

    def test_a_frozen_consumer_s_message_comes_back(self, url: str) -> None:
        """Its connection is open and its process is there, but it says nothing any more."""
        with unimq.Queue(url) as queue:
            queue.put("precious")
            with subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True) as consumer:
                try:
                    assert consumer.stdout is not None
                    assert consumer.stdout.readline() == "precious\n"
                    consumer.send_signal(signal.SIGSTOP)
                    with queue.get(timeout=3 * PATIENCE) as message:
                        assert message.body == "precious"
                finally:
                    consumer.kill()

    def test_who_lives_keeps_what_it_holds(self, url: str) -> None:
        """A message in hand for several beats, with nothing said about it, is still its consumer's."""
        with unimq.Queue(url) as queue, unimq.Queue(url) as other:
            queue.put("x")
            message = queue.get(timeout=PATIENCE)
            with pytest.raises(unimq.Empty):
                other.get(timeout=6)
            message.ack()
            with pytest.raises(unimq.Empty):
                other.get(timeout=0)

    def test_a_stalled_broker_is_noticed_by_a_get_that_waits(self, server: Running, url: str) -> None:
        """In two to three beats, although the get has nothing to say; when the broker goes on, so does the get."""
        lost = threading.Event()
        hooks = Hooks(connection=lambda event: lost.set() if event.state == "lost" else None)
        with unimq.Queue(url, hooks=hooks) as queue:
            queue.ping()
            got: list[object] = []
            waiting = threading.Thread(target=lambda: got.append(queue.get(timeout=6 * PATIENCE).body))
            waiting.start()
            time.sleep(0.2)
            start = time.monotonic()
            server.pause()
            assert lost.wait(PATIENCE)
            assert time.monotonic() - start < 3 + PATIENCE / 4
            server.resume()
            with unimq.Queue(url) as other:
                other.put("after")
            waiting.join(6 * PATIENCE)
            assert got == ["after"]
