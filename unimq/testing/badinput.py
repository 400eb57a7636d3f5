"""What a caller may get wrong: every argument is checked, and the error names it and what it was."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest

from unimq.aio import AsyncClient, AsyncQueue
from unimq.errors import Empty, InvalidArgument, InvalidMessage, InvalidName, InvalidURL
from unimq.hooks import ConnectionEvent, Hooks
from unimq.queue import Client, Queue
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, QUIET, Lab

__all__ = ["BadInput"]

_NO_SECONDS: Final[list[Any]] = [-1, -0.001, math.nan, math.inf, "1", [], True, timedelta(seconds=-1), 10**400]
_NO_COUNT: Final[list[Any]] = [0, -1, 1.0, True, "1", 10**9, math.nan]
_NO_TEXT: Final[list[Any]] = ["", 7, b"x", "a\nb", "\x00", "x" * 70_000, []]
_NAIVE: Final = datetime(2030, 1, 1)  # noqa: DTZ001 - that it has no time zone is the mistake

_PUT: Final[dict[str, list[Any]]] = {
    "headers": [
        [],
        "a=b",
        7,
        {1: "a"},
        {"a": 1},
        {"a": None},
        {"a": b"b"},
        {"": "x"},
        {"unimq-id": "x"},
        {"Unimq-x": "x"},
        {"a\x00": "x"},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"k" * 300: "x"},
        {"a": "x" * 100_000},
        {str(number): "" for number in range(2000)},
    ],
    "priority": [-1, 10, 4.0, True, "9", math.nan, 10**30],
    "delay": [*_NO_SECONDS, 1e12],
    "at": [_NAIVE, 0, "2030-01-01", []],
    "ttl": [*_NO_SECONDS, 0, 1e12],
    "id": _NO_TEXT,
    "reply_to": _NO_TEXT,
    "correlation_id": _NO_TEXT,
    "unique": [*_NO_TEXT, "-", "a b", "é", "x" * 65],
    "key": [7, b"x", [], 1.5],
    "timeout": _NO_SECONDS,
}
_NEEDED: Final = {
    "headers": "headers",
    "reply_to": "headers",
    "correlation_id": "headers",
    "id": "headers",
    "unique": "deduplication",
    "priority": "priority",
    "delay": "delay",
    "at": "delay",
    "ttl": "ttl",
}
Call = Callable[[AsyncQueue[Any], Any], Awaitable[Any]]
_ASKED: Final[dict[str, tuple[str, Call, list[Any]]]] = {
    "get timeout": ("", lambda queue, value: queue.get(timeout=value), _NO_SECONDS),
    "get_many limit": ("", lambda queue, value: queue.get_many(value, timeout=0), _NO_COUNT),
    "get_many timeout": ("", lambda queue, value: queue.get_many(timeout=value), _NO_SECONDS),
    "consume prefetch": ("", lambda queue, value: anext(queue.consume(prefetch=value)), _NO_COUNT),
    "consume timeout": ("", lambda queue, value: anext(queue.consume(timeout=value)), _NO_SECONDS),
    "peek limit": ("peek", lambda queue, value: queue.peek(value), _NO_COUNT),
    "redrive limit": ("dead_letters", lambda queue, value: queue.dead.redrive(value), [0, -1, 1.5, "1", True]),
    "redrive id": ("dead_letters", lambda queue, value: queue.dead.redrive(id=value), [7, "", "a\nb", "x" * 201]),
    "redrive rate": (
        "dead_letters",
        lambda queue, value: queue.dead.redrive(rate=value),
        [0, -1, "1", True, float("nan"), float("inf")],
    ),
    "put_many bodies": (
        "",
        lambda queue, value: queue.put_many(value),
        ["abc", b"abc", bytearray(b"abc"), {"a": 1}, 1, None],
    ),
    "put_many timeout": ("", lambda queue, value: queue.put_many(["x"], timeout=value), _NO_SECONDS),
    "cancel id": ("cancel", lambda queue, value: queue.cancel(value), [7, None, b"x", []]),
}
_MADE: Final[dict[str, list[Any]]] = {
    "codec": ["yaml", 7, ""],
    "lease": [*_NO_SECONDS, 0, 0.01, 1e12],
    "max_deliveries": [0, -1, 1.5, True, "3"],
    "require": ["delay", 7, [7]],
}
_NAMES: Final[list[Any]] = [
    "",
    7,
    b"x",
    "a\nb",
    "a\x00",
    "\x7f",
    ".",
    "..",
    "../up",
    "a/../b",
    "unimq-mine",
    "x" * 5000,
    "\ud800",
]


class BadInput(Cases):
    """A mistake of the caller is told to the caller, and to nobody else."""

    @pytest.mark.parametrize("argument", _PUT)
    async def test_a_put_checks_its_arguments(self, lab: Lab, argument: str) -> None:
        """Wrong types, NaN, negative and absurd values: `InvalidArgument` names the argument, before any connection."""
        if not lab.capabilities[_NEEDED.get(argument, "batch")]:
            pytest.skip(f"{argument} is refused here as unsupported")
        events: list[ConnectionEvent] = []
        queue = lab.queue(hooks=Hooks(connection=events.append))
        shows = "header" if argument == "headers" else argument

        async def put(value: Any) -> None:
            await queue.put("x", **{argument: value})

        assert await lab.mistakes(put, _PUT[argument], InvalidArgument, shows=shows) == []
        assert events == []
        await lab.nothing(queue)

    @pytest.mark.parametrize("call", _ASKED)
    async def test_other_calls_check_their_arguments(self, lab: Lab, call: str) -> None:
        """As a put does; nothing is taken from the queue."""
        needed, ask, values = _ASKED[call]
        if needed and not lab.capabilities[needed]:
            pytest.skip(f"{needed} is absent here; its refusal has a case of its own")
        queue = lab.queue()
        await queue.put("stays")
        shows = call.split()[1]
        assert await lab.mistakes(lambda value: ask(queue, value), values, InvalidArgument, shows=shows) == []
        assert await lab.bodies(queue, 1) == ["stays"]
        await lab.nothing(queue)

    @pytest.mark.parametrize(("way", "argument"), [("nack", "delay"), ("extend", "seconds"), ("reject", "reason")])
    async def test_a_settlement_checks_its_arguments(self, lab: Lab, way: str, argument: str) -> None:
        """The message is still in hand afterwards."""
        needed = {"nack": "nack_delay", "extend": "extend", "reject": "dead_letters"}[way]
        if not lab.capabilities[needed] or not (way != "nack" or lab.capabilities.nack):
            pytest.skip(f"{needed} is absent here; its refusal has a case of its own")
        queue = lab.queue()
        await queue.put("x")
        message = await lab.receive(queue)
        values: list[Any] = [7, None, b"x"] if way == "reject" else [*_NO_SECONDS, 1e12]
        assert await lab.mistakes(getattr(message, way), values, InvalidArgument, shows=argument) == []
        assert not message.settled
        await message.ack()
        await lab.nothing(queue)

    @pytest.mark.parametrize("argument", _MADE)
    async def test_making_a_queue_checks_its_arguments(self, lab: Lab, argument: str) -> None:
        """Also when a client makes it."""
        client = lab.client()
        makers: list[Any] = [lab.queue, lab.client if argument == "require" else partial(client.queue, lab.name)]
        for make in makers:
            use = _with(make, argument)
            assert await lab.mistakes(use, _MADE[argument], InvalidArgument, shows=argument) == []

    @pytest.mark.parametrize("name", _NAMES, ids=lambda name: repr(name)[:20])
    async def test_a_name_that_cannot_be(self, lab: Lab, name: Any) -> None:
        """`InvalidName` shows it; nothing is connected to."""
        client = lab.client()
        for make in (lab.queue, client.queue):
            assert await lab.mistakes(make, [name], InvalidName, shows="name") == []

    @pytest.mark.parametrize("text", [7, b"memory://", "", "no scheme", "://x", "nobody-serves-this://x"])
    async def test_a_url_that_cannot_be(self, lab: Lab, text: Any) -> None:
        """`InvalidURL`, for a client and for a queue."""
        for make in (Client, Queue) if lab.face == "sync" else (AsyncClient, AsyncQueue):
            with pytest.raises(InvalidURL):
                make(text)

    @pytest.mark.parametrize("codec", ["json", "msgpack", "text", "raw"])
    async def test_a_body_that_the_codec_cannot_carry(self, lab: Lab, codec: str) -> None:
        """It is refused where it is put, not where it is received."""
        bodies: dict[str, list[Any]] = {
            "json": [b"x", {"a": b"x"}, math.nan, [math.inf], object(), {1: 2}.keys, "\ud800"],
            "msgpack": [object(), 2**70],
            "text": [b"x", 7, None, "\ud800"],
            "raw": ["x", 7, None, [1]],
        }
        queue = lab.queue(codec=codec)
        for body in bodies[codec]:
            with pytest.raises(InvalidArgument):
                await queue.put(body)
        await lab.nothing(queue)

    async def test_messages_of_somebody_else_are_not_ours_to_settle(self, lab: Lab) -> None:
        """What is no message of this queue is refused by `ack` of many."""
        queue = lab.queue()
        wrong: list[Any] = [["x"], [None], 7, None]
        assert await lab.mistakes(queue.ack, wrong, InvalidArgument, shows="messages") == []

    @needs("nack")
    async def test_what_cannot_be_decoded_makes_no_loop(self, lab: Lab) -> None:
        """A consumer that gives back what it cannot read gets its neighbours, and with `max_deliveries` an end."""
        limited = lab.capabilities.delivery_count and lab.capabilities.dead_letters
        foreign = lab.queue(codec="raw", options={"envelope": "never"})
        queue = lab.queue(max_deliveries=2) if limited else lab.queue()
        await foreign.put_many([b"1", b"\xff", b"2"])
        seen: list[Any] = []
        rounds = 0
        while rounds < 20:
            rounds += 1
            try:
                message = await queue.get(timeout=PATIENCE if len(seen) < 2 else QUIET)
            except Empty:
                break
            try:
                seen.append(message.body)
            except InvalidMessage:
                if limited or (lab.capabilities.nack_place == "tail" and len(seen) < 2):
                    await message.nack()
                else:
                    await message.ack()
            else:
                await message.ack()
        assert sorted(seen) == [1, 2]
        if limited:
            while (await queue.dead.get(timeout=PATIENCE)).raw != b"\xff":
                pass


def _with(make: Callable[..., Any], argument: str) -> Callable[[Any], Any]:
    """Call `make` with a value for `argument`."""
    return lambda value: make(**{argument: value})
