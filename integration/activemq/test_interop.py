"""Other programs on the same queue: one that uses bare stomp.py, and the broker's own command line."""

import re
from collections.abc import Callable, Iterator

import docker
import pytest
import stomp
from activemq.foreign import Foreign
from harness import Recipe, Running

import unimq
from unimq.testing.lab import PATIENCE, fresh_name


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running], broker: Recipe) -> Running:
    return private(broker)


@pytest.fixture
def name() -> str:
    return fresh_name()


@pytest.fixture
def foreign(server: Running) -> Iterator[Foreign]:
    program = Foreign(unimq.URL.parse(server.url))
    yield program
    program.connection.disconnect()


def raw(server: Running, name: str) -> unimq.Queue[bytes]:
    return unimq.Queue(f"{server.url}/{name}?codec=raw")


def nothing(queue: unimq.Queue[bytes]) -> bool:
    with pytest.raises(unimq.Empty):
        queue.get(timeout=0)
    return True


class TestStompPy:
    """A bare stomp.py program at the other end."""

    def test_it_reads_what_unimq_puts(self, server: Running, foreign: Foreign, name: str) -> None:
        """The encoded body as it is, headers as headers, and what means something to the broker under a prefix."""
        with unimq.Queue(f"{server.url}/{name}?prioritized=true") as ours:
            put = ours.put({"a": 1}, headers={"colour": "r\u00f6t:\n", "JMSXGroupID": "g"}, priority=7, ttl=60)
            foreign.connection.subscribe(f"/queue/{name}", "1", "client-individual")
            frame = foreign.frames.get(timeout=PATIENCE)
            assert frame.body == b'{"a":1}'
            assert frame.headers["colour"] == "r\u00f6t:\n"
            assert frame.headers["unimq-h.JMSXGroupID"] == "g"
            assert frame.headers["unimq-id"] == put.id
            assert frame.headers["priority"] == "7"
            assert frame.headers["persistent"] == "true"
            assert int(frame.headers["expires"]) > int(frame.headers["timestamp"])

    @pytest.mark.parametrize("body", [b"", b"text \xc3\xa9", bytes(range(256))])
    def test_unimq_reads_what_it_sends(self, server: Running, foreign: Foreign, name: str, body: bytes) -> None:
        """Bytes and text, with the headers of Jakarta Messaging that STOMP has names for."""
        with raw(server, name) as ours:
            headers = {"correlation-id": "c1", "type": "greeting", "reply-to": "/queue/answers", "colour": "red"}
            foreign.connection.send(f"/queue/{name}", body, headers=headers | {"priority": "8"})
            message = ours.get(timeout=PATIENCE)
            assert message.body == body
            assert {key: message.headers.get(key) for key in headers} == headers
            assert message.priority == 8
            assert message.native.cmd == "MESSAGE"
            message.nack()
            again = ours.get(timeout=PATIENCE)
            assert (again.body, again.delivery_count, again.priority) == (body, 2, 8)
            assert {key: again.headers.get(key) for key in headers} == headers
            again.ack()

    def test_text_comes_as_text(self, server: Running, foreign: Foreign, name: str) -> None:
        """A JMS TextMessage has no length on the wire."""
        with unimq.Queue(f"{server.url}/{name}?codec=text") as ours:
            foreign.connection.transport.transmit(
                stomp.utils.Frame("SEND", {"destination": f"/queue/{name}"}, b"gr\xc3\xbc\xc3\x9fe")
            )
            with ours.get(timeout=PATIENCE) as message:
                assert message.body == "gr\u00fc\u00dfe"


class TestCommandLine:
    """The broker's own producer and consumer, over its own protocol."""

    @staticmethod
    def run(server: Running, tool: str, *words: str) -> str:
        container = docker.from_env().containers.get(server.handle.split()[1])
        jars = "/usr/share/activemq/lib/*:/usr/share/activemq/lib/optional/*"
        java = ["java", "-Dactivemq.home=/usr/share/activemq", "-cp", f"/conf:{jars}"]
        broker = "--amqurl" if tool == "browse" else "--brokerUrl"
        login = [broker, "tcp://127.0.0.1:61616", "--user", "unimq", "--password", "secret"]
        main = "org.apache.activemq.console.Main"
        code, output = container.exec_run([*java, main, tool, *login, *words])
        text = output.decode()
        assert code == 0, text
        return text

    def test_unimq_reads_what_the_producer_sends(self, server: Running, name: str) -> None:
        """Text messages and bytes messages."""
        text = ["--messageCount", "3", "--message", "hello", "--persistent", "true"]
        self.run(server, "producer", "--destination", f"queue://{name}", *text)
        self.run(server, "producer", "--destination", f"queue://{name}", "--messageCount", "1", "--messageSize", "77")
        with raw(server, name) as ours:
            bodies = []
            for _ in range(4):
                with ours.get(timeout=PATIENCE) as message:
                    bodies.append(message.body)
            assert bodies[:3] == [b"hello"] * 3
            assert len(bodies[3]) == 77

    def test_expiry_and_group_hold(self, server: Running, name: str) -> None:
        """Of a group the next message comes when the one before is settled; STOMP does not tell which group it is."""
        text = ["--message", "hello", "--messageCount", "2", "--msgGroupID", "shop", "--msgTTL", "60000"]
        self.run(server, "producer", "--destination", f"queue://{name}", *text)
        with raw(server, name) as ours:
            for _ in range(2):
                (message,) = ours.get_many(2, timeout=PATIENCE)
                assert nothing(ours)
                assert message.enqueued_at is not None
                assert message.expires_at is not None
                assert 59 < message.expires_at - message.enqueued_at < 61
                message.ack()
            assert nothing(ours)

    def test_a_browser_of_jms_shows_what_unimq_puts(self, server: Running, name: str) -> None:
        """With the headers where JMS looks for them."""
        with raw(server, name) as ours:
            put = ours.put(b"to be read", headers={"colour": "red"}, ttl=3600)
        told = self.run(server, "browse", name)
        fields = dict(re.findall(r"JMS_\w+_FIELD:(\S+) = (.*)", told))
        assert fields["colour"] == "red"
        assert fields["unimq-id"] == put.id
        assert fields["JMSDeliveryMode"] == "persistent"
        assert 3598 < (int(fields["JMSExpiration"]) / 1000 - float(fields["unimq-enqueued"])) < 3602

    def test_the_consumer_reads_what_unimq_puts(self, server: Running, name: str) -> None:
        """It says what it received."""
        with raw(server, name) as ours:
            ours.put(b"x" * 123)
            ours.put(b"y" * 45)
        told = self.run(server, "consumer", "--destination", f"queue://{name}", "--messageCount", "2")
        assert re.search(r"[Cc]onsumed: 2 messages", told), told
        with raw(server, name) as ours, pytest.raises(unimq.Empty):
            ours.get(timeout=0)
