"""The face: `Queue`, one queue on whatever backend its URL names, and the dead-letter queue beside it.

It says what an application can call, and leaves how to the sender, the receiver and the settler of its channel.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from unimq.calling import Calling
from unimq.capabilities import Capabilities
from unimq.channel import Channel, label, refuse_pickling, with_count
from unimq.masking import without_frames
from unimq.message import Message, Receipt
from unimq.observing import observed
from unimq.options import count, timeout_seconds
from unimq.outcomes import raise_failures
from unimq.redrive import redrive
from unimq.tending import Tending
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.client import Client
    from unimq.credentials import Credentials
    from unimq.driver import Outgoing
    from unimq.hooks import Hooks

__all__ = ["DeadLetterQueue", "Queue"]

T = TypeVar("T")


class Queue(Calling[T], Tending[T]):
    """One queue. Safe to share between threads; lazy: it connects when it is first used.

    ```python
    with unimq.Queue("sqlite:///jobs.db?queue=mail") as queue:
        queue.put({"to": "ada@example.org"})
        with queue.get(timeout=5) as message:
            send(message.body)
    ```
    """

    @overload
    def __init__(
        self: "Queue[Any]",
        url: "str | URL | None" = None,
        *,
        type: None = None,
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: "Hooks | None" = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: "str | URL | None" = None,
        *,
        type: type[T],
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: "Hooks | None" = None,
    ) -> None: ...
    @without_frames
    def __init__(  # noqa: PLR0913 - each is a keyword of its own
        self,
        url: "str | URL | None" = None,
        *,
        type: Any = None,  # noqa: A002 - the word that users look for
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: "Hooks | None" = None,
    ) -> None:
        """A queue on a client of its own, closed with it. No I/O happens here.

        Args:
            url: The connection URL; `None` reads the environment variable `UNIMQ_URL`.
            type: What bodies are: a dataclass, Struct, TypedDict, pydantic model, ...; `None` takes what the codec has.
            name: The queue's name; `None` takes the URL's.
            codec: `json` (default), `msgpack`, `text`, `raw` or `pickle`; overrides the URL's.
            lease: Seconds that a consumer owns a message, 0.05 or more; overrides the URL's (60).
            max_deliveries: How often a message is delivered before it is a dead letter, 1 or more; overrides the URL's.
            require: What must hold, e.g. `{"delay", "at-least-once"}`: see `unimq.capabilities.Requirement`.
            credentials: Called before each connection is made, for a user and password that change.
            hooks: Functions that are told about connections, sends, receives and settlements.

        Raises:
            InvalidURL: the URL, or one of its options, cannot be used.
            InvalidName, InvalidArgument: the name or an argument is out of its range.
            Unsupported: the backend cannot do what `require` or an option asks for.
        """
        from unimq.client import Client  # noqa: PLC0415 - a client makes queues, so one of the two imports comes late

        url = URL.parse(url)
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        client = Client(with_count(url, max_deliveries), require=require, credentials=credentials, hooks=hooks)
        self._adopt(client.channel(name, type, Message, **options), owns_client=True)

    @classmethod
    def _of(cls, channel: Channel[Any], *, owns_client: bool = False) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(channel, owns_client=owns_client)
        return queue

    def _adopt(self, channel: Channel[T], *, owns_client: bool) -> None:
        self._channel = channel
        if channel.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._owns_client = owns_client
        self._dead: DeadLetterQueue[T] | None = None

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._channel.name

    @property
    def codec(self) -> str:
        """The name of the codec of its bodies."""
        return self._channel.codec.name

    @property
    def client(self) -> "Client":
        """The client with the connections; a `Queue(url)` has one of its own."""
        return cast("Client", self._channel.client)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do: declared for the URL, and after the first connection what the server proved."""
        return self._channel.capabilities

    @property
    def dead(self) -> "DeadLetterQueue[T]":
        """The queue of what was given up: `<name>.dead`, or what `?dead=` names."""
        if self._dead is None:
            self._dead = DeadLetterQueue[T]._of_parent(self._channel)
        return self._dead

    # Putting

    def put(  # noqa: PLR0913 - each is a keyword of its own
        self,
        body: T,
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002 - the word that users look for
        key: str | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        unique: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> Receipt:
        """Store one message.

        Args:
            body: What the codec and `type=` take.
            headers: Short texts beside the body, keys and values `str`, 64 KiB in all.
            priority: 0 to 9, 9 is delivered first; 4 by default.
            delay: Seconds before which it is not delivered, up to 100 years.
            at: Instead of `delay`, the point in time, with a time zone.
            ttl: Seconds after which it is not delivered any more, counted from now; longer than the delay.
            id: An own id, which makes a repeated put recognisable; 1 to 200 printable characters.
            key: Of several hosts, the one that this key's hash names is preferred.
            reply_to: The queue on which a reply is wanted.
            correlation_id: Which request this belongs to.
            unique: Store nothing while a message with the same text, its id, waits or is in hand (`deduplication`).
            timeout: Seconds until it gives up; `?timeout=` (30) by default.

        Raises:
            InvalidArgument: a value is out of its range, or the codec does not take the body.
            TooLarge: the encoded body is over the backend's limit.
            Unsupported: the backend cannot do what was asked for.
            Full: the queue holds `?max_size=` messages.
            ConnectError, ConnectionLost, Timeout, ServerError: it failed on the way. With `in_doubt` the message may
                have been stored, and repeating it may duplicate; otherwise it certainly was not.
        """
        sender = self._channel.sender
        message = sender.build(body, headers, priority, delay, at, ttl, id, reply_to, correlation_id, unique)
        return sender.send_one(
            message, unique if key is None else key, self._channel.deadline(timeout_seconds(timeout))
        )

    def put_many(  # noqa: PLR0913
        self,
        bodies: Iterable[T],
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        key: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[Receipt]:
        """Store many messages in few exchanges, in their order; the receipts, in the same order.

        All bodies are checked and encoded before the first is sent. The other arguments hold for each, as for `put`.

        Raises:
            BatchError: some were not stored; `outcomes` has a receipt or an error for each, in order.
            InvalidArgument, TooLarge, Unsupported: one of them cannot be sent, or `bodies` is a text, bytes or a
                mapping, which is a single body; nothing was sent.
        """
        sender = self._channel.sender
        messages = sender.build_many(bodies, headers, priority, delay, at, ttl)
        return sender.send_many(messages, key, self._channel.deadline(timeout_seconds(timeout)))

    def encode(  # noqa: PLR0913
        self,
        body: T,
        *,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        delay: float | timedelta = 0,
        at: datetime | None = None,
        ttl: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002
    ) -> "Outgoing":
        """What `put` would send, checked and encoded, for an adapter that stores messages by another way."""
        return self._channel.sender.build(body, headers, priority, delay, at, ttl, id)

    # Getting

    def get(self, timeout: float | timedelta | None = None) -> Message[T]:
        """The next message, to be settled by its receiver.

        `timeout` in seconds: `None` waits for ever, 0 does not wait for a message to arrive.

        Raises:
            Empty: no message came in time. It is a `queue.Empty`.
            ConnectError: no server could be reached in time.
        """
        return cast("Message[T]", self._channel.receiver.get_many(1, timeout_seconds(timeout))[0])

    def get_many(self, limit: int = 100, *, timeout: float | timedelta | None = None) -> list[Message[T]]:
        """What is there, between 1 and `limit` (up to 10000) messages; waits as `get` does for the first one only.

        Raises:
            Empty: no message came in time.
        """
        letters = self._channel.receiver.get_many(count(limit, "limit"), timeout_seconds(timeout))
        return cast("list[Message[T]]", letters)

    def consume(self, *, prefetch: int | None = None, timeout: float | timedelta | None = None) -> Iterator[Message[T]]:
        """Messages one after the other, for ever, or until none came for `timeout` seconds.

        It fetches up to `prefetch` (1 to 10000; `?prefetch=`, 10) messages at a time; what was fetched and not handed
        over goes back when the iteration ends. One at a time is fetched where fetches count as deliveries and
        `max_deliveries` is set, because messages that nobody looked at must not die with those that fail.
        """
        ahead = self._channel.settings.prefetch if prefetch is None else count(prefetch, "prefetch")
        return cast("Iterator[Message[T]]", self._channel.receiver.consume(ahead, timeout_seconds(timeout)))

    def __iter__(self) -> Iterator[Message[T]]:
        """Messages for ever, as `consume()`."""
        return self.consume()

    def interrupt(self) -> None:
        """End the gets that wait on this queue object, those over several queues too; from any thread.

        They raise `Empty` within a second, and an iteration ends, unless a message came first. Later gets wait as ever.
        """
        self._channel.interrupt()

    def ack(self, messages: Iterable[Message[T]]) -> None:
        """Remove many messages of this queue in few exchanges.

        Raises:
            BatchError: some failed; `outcomes` has `None` or an error for each, in order.
        """
        raise_failures("ack", self._channel.settler.ack_many(messages))

    def nack(self, messages: Iterable[Message[T]], delay: float | timedelta = 0) -> None:
        """Give many messages of this queue back, as `Message.nack`.

        Raises:
            Unsupported: the backend has no way back, or none with a delay.
            BatchError: some failed; `outcomes` has `None` or an error for each, in order.
        """
        raise_failures("nack", self._channel.settler.nack_many(messages, delay))

    def close(self) -> None:
        """End the gets that wait, and give back what was fetched and not handed over. Idempotent.

        The client is closed too where the queue made it; in a second. Messages in hand come back with their lease.
        """
        self._channel.close()
        if self._owns_client:
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    __repr__ = label
    __reduce__ = refuse_pickling


class DeadLetterQueue(Queue[T]):
    """What was given up. Its headers tell: `unimq-dead-reason`, `-at`, `-origin`, `-put`, `-deliveries`, `-details`.

    It is a queue like any other: get, ack and peek work; `reject` inside it discards.
    """

    _parent: Channel[T]

    @classmethod
    def _of_parent(cls, parent: Channel[T]) -> Self:
        queue = cls._of(parent.dead_channel())
        queue._parent = parent
        return queue

    def redrive(self, limit: int | None = None, *, id: str | None = None, rate: float | None = None) -> int:  # noqa: A002
        """Put dead letters back where they came from, as if never delivered; returns how many.

        It ends with those that were there at the start, or after `limit` (1 or more). With `id`, one that has it goes
        back: 1, or 0 when there is none; the others are in hand during the search. `rate` is how many a second at most
        (0.001 to a million). What has an origin that is no name here goes to the queue whose dead letters these are.

        Raises:
            InvalidArgument: an argument is out of its range.
            Unsupported: `id`, where what is in hand dies with this process (at-most-once).
            BatchError: some could not be put back and are still there; `outcomes` has `None` or an error for each.
        """
        return redrive(self._channel, self._parent, limit, id, rate)
