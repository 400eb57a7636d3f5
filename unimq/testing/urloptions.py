"""Group 12, second half: every documented option of a URL changes something, and an unknown one is a mistake."""

import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from unimq import registry
from unimq.errors import (
    Empty,
    Full,
    InvalidArgument,
    InvalidMessage,
    InvalidURL,
    Timeout,
    Unsupported,
)
from unimq.hooks import Hooks
from unimq.options import CORE
from unimq.testing.cases import Cases
from unimq.testing.lab import PATIENCE, Lab, closing
from unimq.url import URL

__all__ = ["URLOptions"]


async def _queue(lab: Lab) -> None:
    client = lab.client(options={"queue": lab.name})
    await client.queue().put("x")
    assert await lab.bodies(lab.queue(), 1) == ["x"]


async def _password_file(lab: Lab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "password")
        file.write_text("s3cret\n", "utf-8")  # noqa: ASYNC240 - a few bytes
        bare = lab.url.with_credentials(lab.url.user, None).with_options(password_file=str(file))
        assert URL.parse(bare.reveal()).password == "s3cret"  # noqa: S105 - a test's


async def _lease(lab: Lab) -> None:
    if not lab.capabilities.lease:
        with pytest.raises(Unsupported):
            lab.queue(options={"lease": "5s"})
        return
    queue = lab.queue(options={"lease": "300ms"})
    await queue.put("x")
    start = time.monotonic()
    await lab.receive(queue)
    await (await lab.receive(lab.keeper())).ack()
    assert 0.29 <= time.monotonic() - start < PATIENCE


async def _max_deliveries(lab: Lab) -> None:
    needed = ("delivery_count", "nack", "dead_letters")
    if not all(lab.capabilities[name] for name in needed):
        return
    queue = lab.queue(options={"max_deliveries": "1"})
    await queue.put("x")
    await (await lab.receive(queue)).nack()
    assert await lab.bodies(queue.dead, 1) == ["x"]


async def _dead(lab: Lab) -> None:
    if not lab.capabilities.dead_letters:
        return
    elsewhere = lab.other_name()
    queue = lab.queue(options={"dead": elsewhere})
    await queue.put("x")
    await (await lab.receive(queue)).reject()
    assert await lab.bodies(lab.queue(elsewhere), 1) == ["x"]
    queue = lab.queue(options={"dead": lab.url.with_queue(elsewhere).reveal()})
    await queue.put("y")
    await (await lab.receive(queue)).reject()
    assert await lab.bodies(lab.queue(elsewhere), 1) == ["y"]


async def _require(lab: Lab) -> None:
    with pytest.raises(InvalidArgument, match="sharks"):
        lab.queue(options={"require": "sharks"})


async def _emulate(lab: Lab) -> None:
    with pytest.raises((InvalidArgument, InvalidURL), match="sharks"):
        lab.queue(options={"emulate": "sharks"})
    for name in ("delay", "priority", "nack"):
        if lab.declared[name].level in ("native", "layered"):
            with pytest.raises((InvalidArgument, InvalidURL), match="not opt-in"):
                lab.queue(options={"emulate": name})


async def _journal(lab: Lab) -> None:
    """A second get has what a first one left without a word, where the backend itself would not give it back."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"journal": str(Path(folder, "journal.db"))}
        if registry.driver(lab.url.scheme).capabilities(lab.url).guarantee != "at-most-once":
            with pytest.raises(InvalidURL, match="at most once"):
                lab.queue(options=options)
            return
        queue = lab.queue(options={**options, "lease": "300ms"})
        await queue.put("x")
        await lab.receive(queue)
        message = await lab.receive(queue)
        assert (message.body, message.delivery_count) == ("x", 2)
        await message.ack()


async def _codec(lab: Lab) -> None:
    queue = lab.queue(options={"codec": "text"})
    await queue.put("bare")
    assert await lab.bodies(lab.queue(codec="raw"), 1) == [b"bare"]


async def _envelope(lab: Lab) -> None:
    never = lab.queue(options={"envelope": "never"})
    if lab.capabilities.headers.level != "layered":
        return
    with pytest.raises(Unsupported, match="envelope"):
        await never.put("x", headers={"a": "b"})
    await lab.queue(codec="raw", options={"envelope": "always"}).put(b"framed")
    (found,) = await lab.bodies(lab.queue(codec="raw", options={"envelope": "never"}), 1)
    assert found != b"framed"
    assert found.endswith(b"framed")


async def _invalid(lab: Lab) -> None:
    foreign = lab.queue(codec="raw")
    await foreign.put(b"{")
    async with await lab.receive(lab.queue(options={"invalid": "raise"})) as message:
        with pytest.raises(InvalidMessage):
            _ = message.body
    if lab.capabilities.dead_letters:
        await foreign.put(b"{")
        queue = lab.queue(options={"invalid": "reject"})
        await lab.nothing(queue)
        async with await lab.receive(queue.dead) as dead:
            assert dead.raw == b"{"


async def _max_size(lab: Lab) -> None:
    if not lab.capabilities.max_size:
        with pytest.raises(Unsupported, match="max_size"):
            lab.queue(options={"max_size": "1"})
        return
    queue = lab.queue(options={"max_size": "1"})
    await queue.put("x")
    with pytest.raises(Full, match="max_size"):
        await queue.put("y")


async def _prefetch(lab: Lab) -> None:
    """How many messages another consumer still finds while an iteration has its first in hand."""
    if lab.capabilities.guarantee == "at-most-once":
        return
    for prefetch, left in ((1, 3), (3, 1)):
        queue = lab.queue(lab.other_name(), options={"prefetch": str(prefetch)})
        # By a queue without the option, which may bound what waits for a consumer where nobody keeps it.
        await lab.queue(queue.name).put_many([0, 1, 2, 3])
        async with closing(queue.consume(timeout=PATIENCE)) as messages:
            first = await anext(messages)
            other, found = lab.queue(queue.name), 0
            with contextlib.suppress(Empty):
                while True:
                    await (await other.get(timeout=0)).ack()
                    found += 1
            assert found == left
            await first.ack()


async def _timeout(lab: Lab) -> None:
    """With one session, and that one waiting in a get, a put cannot have one in time, or needs none of its own."""
    queue = lab.queue(options={"timeout": "300ms", "max_sessions": "1"})
    await queue.ping()
    waiting = lab.start(queue.get(timeout=PATIENCE))
    await lab.sleep(0.1)
    start = time.monotonic()
    try:
        await queue.put("x")
    except Timeout as error:
        assert not error.in_doubt
        assert 0.295 <= time.monotonic() - start < PATIENCE / 2
        await lab.queue().put("x")
    await (await waiting.result()).ack()


async def _connect_timeout(lab: Lab) -> None:
    """What it bounds needs a server that does not answer: see the cases of `Faults`."""
    lab.queue(options={"connect_timeout": "1s"})
    with pytest.raises(InvalidURL, match="connect_timeout"):
        lab.queue(options={"connect_timeout": "0"})


async def _max_sessions(lab: Lab) -> None:
    """Two gets that wait need two sessions of their own, or share one; never more than there may be."""
    opened: list[str] = []
    hooks = Hooks(connection=lambda event: opened.append(event.state))
    queue = lab.queue(options={"max_sessions": "2"}, hooks=hooks)
    waiting = [lab.start(_one(queue)) for _ in range(4)]
    await lab.sleep(0.2)
    await queue.put_many(list(range(4)))
    for part in waiting:
        await part.result()
    assert opened.count("connected") <= 2


async def _max_idle(lab: Lab) -> None:
    """What is closed because nobody used it takes nothing along: a message in hand, or a get that waits."""
    queue = lab.queue(options={"max_idle": "100ms"})
    waiting = [lab.start(_one(queue)) for _ in range(3)]
    await lab.sleep(0.2)
    await queue.put_many([1, 2, 3])
    for part in waiting:
        await part.result()
    await queue.put("in hand")
    message = await queue.get(timeout=PATIENCE)
    late = lab.start(_one(queue))
    await lab.sleep(0.5)
    await message.ack()
    await queue.put("waited for")
    await late.result()


async def _one(queue: Any) -> None:
    async with await queue.get(timeout=PATIENCE):
        pass


PROBES: Final[dict[str, Callable[[Lab], Awaitable[None]]]] = {
    "queue": _queue,
    "password_file": _password_file,
    "lease": _lease,
    "max_deliveries": _max_deliveries,
    "dead": _dead,
    "require": _require,
    "emulate": _emulate,
    "journal": _journal,
    "codec": _codec,
    "envelope": _envelope,
    "invalid": _invalid,
    "max_size": _max_size,
    "prefetch": _prefetch,
    "timeout": _timeout,
    "connect_timeout": _connect_timeout,
    "max_sessions": _max_sessions,
    "max_idle": _max_idle,
}
_WRONG: Final = {
    "text": (),
    "int": ("one", "1.5", "", "1e3", "-"),
    "bool": ("maybe", ""),
    "duration": ("soon", "-1s", "", "1 s", "nan", "inf", "1y"),
    "size": ("big", "-1", "1TB", ""),
    "names": (),
}


class URLOptions(Cases):
    """A URL says nothing in vain."""

    def test_every_option_is_probed(self) -> None:
        """A new option of the core cannot be forgotten here."""
        assert PROBES.keys() == {option.name for option in CORE}

    @pytest.mark.parametrize("name", PROBES)
    async def test_an_option_changes_something(self, lab: Lab, name: str) -> None:
        """Its effect is seen, or it is refused where the backend cannot have it."""
        await PROBES[name](lab)

    @pytest.mark.parametrize("name", ["laese", "prioritys", "Lease", "x", "max-size"])
    async def test_an_unknown_option_is_a_mistake(self, lab: Lab, name: str) -> None:
        """The text names it, the nearest known one, and all of them."""
        with pytest.raises(InvalidURL) as caught:
            lab.queue(options={name: "1"})
        assert repr(name) in str(caught.value)
        assert "max_deliveries" in str(caught.value)

    async def test_a_wrong_value_is_a_mistake(self, lab: Lab) -> None:
        """For every option of the core and of the driver; the text names the option and the value."""
        for option in (*CORE, *registry.driver(lab.url.scheme).options):
            wrong = ["sharks"] if option.choices else list(_WRONG[option.kind])
            if option.minimum is not None:
                wrong.append(f"{option.minimum - 1:g}")
            if option.maximum is not None:
                wrong.append(f"{option.maximum * 10:.0f}")
            for value in wrong:
                with pytest.raises(InvalidURL) as caught:
                    lab.queue(options={option.name: value})
                assert option.name in str(caught.value)
                assert option.secret or value in str(caught.value)

    async def test_options_of_the_driver_are_documented(self, lab: Lab) -> None:
        """Each has a line of documentation, a default of its kind, and no name of the core's."""
        driver = registry.driver(lab.url.scheme)
        for option in driver.options:
            assert option.doc.endswith(".")
            assert option.name not in {core.name for core in CORE}
            if option.default is not None:
                option.check(option.default)

    async def test_an_argument_overrides_the_url(self, lab: Lab) -> None:
        """A call's `codec=` and `lease=` win over the URL's."""
        queue = lab.queue(codec="raw", options={"codec": "text"})
        await queue.put(b"\xff")
        assert await lab.bodies(queue, 1) == [b"\xff"]
