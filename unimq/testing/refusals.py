"""Group 12: what is declared works, and what is not declared is refused before the server sees anything."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from unimq.aio import AsyncQueue
from unimq.capabilities import CAPABILITY_NAMES, REQUIREMENTS
from unimq.errors import InvalidArgument, InvalidURL, Unsupported
from unimq.hooks import ConnectionEvent, Hooks
from unimq.testing.cases import Cases
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Refusals"]


@dataclass(frozen=True, slots=True)
class Probe:
    """The least use of a capability."""

    use: Callable[[Lab, AsyncQueue[Any], Any], Awaitable[Any]]
    """Called with the lab, a queue and a message that was received from it."""
    in_hand: bool = False
    """Whether it needs the message."""


async def _listed(lab: Lab, _queue: Any, _message: Any) -> list[str]:
    return await lab.client().queues()


async def _leased(lab: Lab, _queue: Any, _message: Any) -> object:
    return lab.queue(lease=5.0)


async def _limited(lab: Lab, _queue: Any, _message: Any) -> object:
    return lab.queue(options={"max_size": "5"})


async def _counted(lab: Lab, _queue: Any, _message: Any) -> object:
    return lab.queue(max_deliveries=3)


async def _called(lab: Lab, queue: AsyncQueue[Any], _message: Any) -> object:
    calling = lab.start(queue.call("x", timeout=PATIENCE))
    if lab.capabilities.call:
        async with await lab.receive(lab.queue()) as request:
            await request.reply("y")
    return await calling.result()


PROBES: Final[dict[str, Probe]] = {
    "priority": Probe(lambda _, queue, __: queue.put("x", priority=9)),
    "delay": Probe(lambda _, queue, __: queue.put("x", delay=0.1)),
    "ttl": Probe(lambda _, queue, __: queue.put("x", ttl=60)),
    "headers": Probe(lambda _, queue, __: queue.put("x", headers={"a": "b"})),
    "nack": Probe(lambda _, __, message: message.nack(), in_hand=True),
    "nack_delay": Probe(lambda _, __, message: message.nack(delay=0.1), in_hand=True),
    "lease": Probe(_leased),
    "extend": Probe(lambda _, __, message: message.extend(5), in_hand=True),
    "delivery_count": Probe(_counted),
    "dead_letters": Probe(lambda _, __, message: message.reject(), in_hand=True),
    "max_size": Probe(_limited),
    "deduplication": Probe(lambda _, queue, __: queue.put("x", unique="u")),
    "cancel": Probe(lambda _, queue, __: queue.cancel("nobody")),
    "peek": Probe(lambda _, queue, __: queue.peek()),
    "stats": Probe(lambda _, queue, __: queue.stats()),
    "purge": Probe(lambda _, queue, __: queue.purge()),
    "delete": Probe(lambda _, queue, __: queue.delete()),
    "queues": Probe(_listed),
    "call": Probe(_called),
    "progress": Probe(lambda _, __, message: message.progress(1, 2), in_hand=True),
}
NOT_CALLED: Final = {
    "batch": "put_many and get_many work everywhere; the capability says how fast",
    "outbox": "it is a function of its adapter, and tested there",
}


class Refusals(Cases):
    """No silent lie, in either direction."""

    def test_every_capability_is_probed(self) -> None:
        """A new capability cannot be forgotten here."""
        assert PROBES.keys() | NOT_CALLED.keys() == set(CAPABILITY_NAMES)

    @pytest.mark.parametrize("name", PROBES)
    async def test_a_capability_works_or_is_refused(self, lab: Lab, name: str) -> None:
        """Declared, its use raises nothing; not declared, it raises `Unsupported` and nothing was sent or lost."""
        probe = PROBES[name]
        events: list[ConnectionEvent] = []
        queue = lab.queue(hooks=Hooks(connection=events.append))
        message: Any = None
        if probe.in_hand:
            await queue.put("held")
            message = await lab.receive(queue)
        if lab.capabilities[name]:
            await probe.use(lab, queue, message)
            return
        # Without a way back there is none with a delay either.
        named = "nack" if name == "nack_delay" and not lab.capabilities.nack else name
        with pytest.raises(Unsupported, match=named) as caught:
            await probe.use(lab, queue, message)
        assert str(lab.url) in str(caught.value)
        if probe.in_hand:
            assert not message.settled
            await message.ack()
        elif not lab.declared[name]:
            assert events == []
        await lab.nothing(lab.queue())

    @pytest.mark.parametrize("name", ["size", "redrive"])
    async def test_what_follows_from_a_capability(self, lab: Lab, name: str) -> None:
        """`size` needs stats; a redrive works wherever there are dead letters."""
        queue = lab.queue()
        if name == "redrive":
            if lab.capabilities.dead_letters:
                assert await queue.dead.redrive() == 0
        elif lab.capabilities.stats:
            assert await queue.size() == 0
        else:
            with pytest.raises(Unsupported, match="stats"):
                await queue.size()

    @pytest.mark.parametrize("requirement", REQUIREMENTS)
    async def test_a_requirement_holds_or_is_refused(self, lab: Lab, requirement: str) -> None:
        """At construction, as an argument and in the URL, without a connection; the text names it.

        What only the server can tell is refused at the first connection instead.
        """
        events: list[ConnectionEvent] = []
        hooks = Hooks(connection=events.append)
        makers: list[Callable[[], Any]] = [
            lambda: lab.queue(require={requirement}, hooks=hooks),
            lambda: lab.client(require=[requirement], hooks=hooks),
            lambda: lab.queue(options={"require": requirement}, hooks=hooks),
        ]
        for make in makers:
            if lab.declared.missing(requirement) is None:
                make()
            elif requirement == "durable" and lab.declared.survives_server_restart == "unknown":
                await self._told_by_the_server(lab, make(), requirement)
                events.clear()
            else:
                with pytest.raises(Unsupported, match="cannot give what is required"):
                    make()
        assert events == []

    async def _told_by_the_server(self, lab: Lab, made: Any, requirement: str) -> None:
        if lab.capabilities.missing(requirement) is None:
            await made.ping()
        else:
            with pytest.raises(Unsupported, match="cannot give what is required"):
                await made.ping()

    async def test_a_level_may_be_required(self, lab: Lab) -> None:
        """`headers:native` is refused where unimq does it, and the other way round."""
        for name in CAPABILITY_NAMES:
            for level in ("native", "layered"):
                if lab.declared[name] and lab.declared[name].level == level:
                    lab.queue(require={f"{name}:{level}"})
                else:
                    with pytest.raises(Unsupported, match=name):
                        lab.queue(require={f"{name}:{level}"})

    @pytest.mark.parametrize("requirement", ["dealy", "delay:fast", "", "Delay", "exactly-once", "delay:"])
    async def test_an_unknown_requirement_is_a_mistake(self, lab: Lab, requirement: str) -> None:
        """`InvalidArgument`, or `InvalidURL` in the URL, names it and what is known."""
        with pytest.raises(InvalidArgument):
            lab.queue(require={requirement})
        if requirement:
            with pytest.raises((InvalidURL, InvalidArgument)):
                lab.queue(options={"require": requirement})

    async def test_what_the_server_proves_is_no_more_than_declared(self, lab: Lab) -> None:
        """A session never adds a capability to what is promised for the URL."""
        assert lab.capabilities.exceeding(lab.declared) == []
        queue = lab.queue()
        await queue.ping()
        assert queue.capabilities == lab.capabilities
