"""Group 2: what is put is what is received, whatever it is."""

import re
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import pytest

from unimq.envelope import MAGIC
from unimq.errors import InvalidArgument, InvalidMessage, InvalidName, TooLarge
from unimq.naming import DEAD_SUFFIX
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import Lab

__all__ = ["Order", "RoundTrip"]

_LARGE: Final = 1 << 20
"""Bytes of a body that is large and no burden; the exact limit is tried where it is no larger than four of them."""

ODD_HEADERS: Final = {
    "plain": "value",
    "empty": "",
    "newline": "a\nb\r\nc\r",
    "colon: and more": "a:b::c",
    "backslash\\n": "\\n \\c \\\\",
    "percent%20": "%0a%",
    "equals=&": "a=b&c;d",
    "quotes'\"": "'\"`",
    "spaces": "  two before, two behind  ",
    "tab\t": "\t",
    "Case": "upper",
    "case": "lower",
    "ünïcödé 队列 🦄": "ключ \u2028 \u200b \ufeff",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "content-length": "7",
    "destination": "/queue/elsewhere",
    "long": "x" * 2000,
}

BODIES: Final[dict[str, list[Any]]] = {
    "json": [{"a": [1, 2.5, None, True, "ü\u2028"]}, [], "", 0, None, "\x00", 2**53, -1.5e-300],
    "msgpack": [{"a": [1, b"\x00\xff", None]}, b"", "ü", 2**63, [], float("inf")],
    "text": ["", "ü 队列 🦄", "a\x00b", "\r\n"],
    "raw": [b"", b"\x00", b"\r\n.\r\n", bytes(500)],  # the smallest limit of a backend is 905
    "pickle": [{1: {2, 3}}, (1, 2), None, complex(1, 2)],
}


@dataclass(frozen=True)
class Order:
    """A typed body."""

    number: int
    items: tuple[str, ...] = ()


class RoundTrip(Cases):
    """Bodies, headers, names and ids arrive as they were given."""

    async def test_a_message_arrives(self, lab: Lab) -> None:
        """Its body, queue and id are those of the put; the receipt says where it is and whether it is stored."""
        queue = lab.queue()
        receipt = await queue.put({"to": "ada"})
        assert receipt.queue == lab.name
        assert receipt.confirmed is lab.capabilities.confirmed
        message = await lab.receive(queue)
        assert message.body == {"to": "ada"}
        assert message.queue == lab.name
        assert message.id == receipt.id
        assert not message.settled
        assert dict(message.headers) == {}
        await message.ack()
        assert message.settled

    @pytest.mark.parametrize("codec", BODIES)
    async def test_every_codec(self, lab: Lab, codec: str) -> None:
        """Each codec gives back what it was given, empty and awkward bodies too."""
        queue = lab.queue(codec=codec)
        for body in BODIES[codec]:
            await queue.put(body)
            (found,) = await lab.bodies(queue, 1)
            assert found == body
            assert type(found) is type(body)

    async def test_every_byte_value(self, lab: Lab) -> None:
        """A raw body is bytes, all 256 of them, in any order."""
        queue = lab.queue(codec="raw")
        every = bytes(range(256))
        for body in (every, every[::-1], b"\x00" + every + b"\x00", MAGIC, MAGIC + every):
            await queue.put(body)
            message = await lab.receive(queue)
            assert message.raw == body
            assert message.body == body
            await message.ack()

    async def test_typed_bodies(self, lab: Lab) -> None:
        """`type=` decodes into that type, and a plain queue sees its fields."""
        queue = lab.queue(type=Order)
        await queue.put(Order(7, ("tea", "milk")))
        assert await lab.bodies(queue, 1) == [Order(7, ("tea", "milk"))]
        await queue.put(Order(8))
        assert await lab.bodies(lab.queue(), 1) == [{"number": 8, "items": []}]

    async def test_a_large_body(self, lab: Lab) -> None:
        """The limit, or a mebibyte where it is more than four or unknown, arrives whole."""
        limit = lab.capabilities.limits.body
        queue = lab.queue(codec="raw")
        size = _LARGE if limit is None or limit > 4 * _LARGE else limit
        body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        await queue.put(body)
        (found,) = await lab.bodies(queue, 1)
        assert found == body

    async def test_a_body_over_the_limit_is_refused_before_it_is_sent(self, lab: Lab) -> None:
        """`TooLarge` names the size and the limit; alone and in a batch, where nothing of it is sent."""
        limit = lab.capabilities.limits.body
        if limit is None:
            pytest.skip("no limit is declared")
        queue = lab.queue(codec="raw")
        body = bytes(limit + 1)
        with pytest.raises(TooLarge, match=rf"{limit + 1}.*{limit}") as caught:
            await queue.put(body)
        assert not caught.value.in_doubt
        with pytest.raises(TooLarge):
            await queue.put_many([b"fits", body])
        await lab.nothing(queue)

    @needs("headers")
    async def test_headers_arrive_unchanged(self, lab: Lab) -> None:
        """Newlines, colons, escapes, Unicode, empty values, names that protocols use themselves."""
        queue = lab.queue()
        room = lab.capabilities.limits.headers
        for headers in (ODD_HEADERS, *({key: value} for key, value in ODD_HEADERS.items())):
            if room is None or sum(len((k + v).encode()) for k, v in headers.items()) <= room:
                await queue.put("x", headers=headers)
                message = await lab.receive(queue)
                assert dict(message.headers) == headers
                assert message.body == "x"
                await message.ack()

    @needs("headers")
    async def test_headers_belong_to_their_message(self, lab: Lab) -> None:
        """A neighbour without headers has none; what a caller changes later is not sent."""
        queue = lab.queue()
        mine = {"mine": "yes"}
        await queue.put(1, headers=mine)
        mine["mine"] = "changed"
        await queue.put(2)
        seen = {}
        for _ in range(2):
            message = await lab.receive(queue)
            seen[message.body] = dict(message.headers)
            await message.ack()
        assert seen == {1: {"mine": "yes"}, 2: {}}

    async def test_a_unicode_name_works_or_is_refused(self, lab: Lab) -> None:
        """Refused before anything is sent where the characters are not declared."""
        name = f"{lab.name}-schlänge-队列"
        allowed = re.fullmatch(f"(?:{lab.capabilities.limits.name_characters})+", name)
        if not allowed:
            with pytest.raises(InvalidName, match="not allowed"):
                lab.queue(name)
            return
        queue = lab.queue(name)
        await queue.put("x")
        message = await lab.receive(queue)
        assert message.queue == name
        await message.ack()

    async def test_names_that_look_like_something_else(self, lab: Lab) -> None:
        """Declared characters that mean something to URLs, file systems or databases mean nothing here."""
        allowed = re.compile(f"(?:{lab.capabilities.limits.name_characters})+")
        ends = ["/a", "%41", "' OR 1=1 --", "\\x", " b ", "?c=1", "#d", "*", ".e", ":f", "_g", "é", "e\u0301"]
        queues = [lab.queue(lab.name + end) for end in ends if allowed.fullmatch(lab.name + end)]
        for queue in queues:
            await queue.put(queue.name)
        for queue in queues:
            assert await lab.bodies(queue, 1) == [queue.name]
            await lab.nothing(queue, 0)

    async def test_names_up_to_the_limit(self, lab: Lab) -> None:
        """The longest name works and leaves room for the dead letters' suffix; one byte more is refused."""
        longest = lab.name.ljust(lab.capabilities.limits.name - len(DEAD_SUFFIX), "x")
        queue = lab.queue(longest)
        await queue.put("x")
        assert await lab.bodies(queue, 1) == ["x"]
        with pytest.raises(InvalidName, match=str(len(longest))):
            lab.queue(longest + "x")

    @needs("headers")
    async def test_an_own_id_arrives(self, lab: Lab) -> None:
        """`id=` is the receipt's and the message's."""
        queue = lab.queue()
        receipt = await queue.put("x", id="order 4711/ü")
        assert receipt.id == "order 4711/ü"
        message = await lab.receive(queue)
        assert message.id == "order 4711/ü"
        await message.ack()

    async def test_ids_are_different(self, lab: Lab) -> None:
        """Where messages have ids, no two have the same, and the receipts are in the order of the bodies."""
        queue = lab.queue()
        receipts = await queue.put_many([0, 1, 2])
        seen: dict[int, str | None] = {}
        for _ in range(3):
            message = await lab.receive(queue)
            seen[message.body] = message.id
            await message.ack()
        assert [receipt.id for receipt in receipts] == [seen[0], seen[1], seen[2]]
        known = [receipt.id for receipt in receipts if receipt.id is not None]
        assert len(set(known)) == len(known)

    async def test_a_plain_message_is_plain_for_foreign_programs(self, lab: Lab) -> None:
        """Without metadata it travels as its encoded body, and a foreign body is read by the codec."""
        ours, foreign = lab.queue(), lab.queue(codec="raw", options={"envelope": "never"})
        await ours.put({"a": 1})
        assert await lab.bodies(foreign, 1) == [b'{"a":1}']
        await foreign.put(b' {"b" : [ 2 ]}\n')
        assert await lab.bodies(ours, 1) == [{"b": [2]}]

    async def test_what_cannot_be_decoded_can_be_settled(self, lab: Lab) -> None:
        """`body` raises `InvalidMessage` each time, `raw` has the bytes, and the neighbour arrives."""
        foreign, queue = lab.queue(codec="raw"), lab.queue()
        await foreign.put_many([b"\xff{no json", b'"fine"'])
        seen: list[Any] = []
        for _ in range(2):
            message = await lab.receive(queue)
            if message.raw == b"\xff{no json":
                for _ in range(2):
                    with pytest.raises(InvalidMessage):
                        _ = message.body
                seen.append(None)
            else:
                seen.append(message.body)
            await message.ack()
        assert sorted(seen, key=str) == [None, "fine"]
        await lab.nothing(queue)

    @pytest.mark.parametrize("damage", ["newer", "garbled", "short", "checksum", "endless"])
    async def test_a_damaged_envelope_harms_nobody(self, lab: Lab, damage: str) -> None:
        """It is a plain body, or an invalid message that can be settled; the neighbour arrives."""
        sender = lab.queue(codec="raw", options={"envelope": "never"})
        queue = lab.queue(codec="raw")
        body = DAMAGED[damage]
        await sender.put_many([body, b"fine"])
        raws: set[bytes] = set()
        for _ in range(2):
            message = await lab.receive(queue)
            raws.add(message.raw)
            try:
                assert message.body == message.raw
            except InvalidMessage:
                assert message.raw == body
            await message.ack()
        assert raws == {body, b"fine"}
        await lab.nothing(queue)

    @needs("deduplication", "headers")
    async def test_what_is_unique_is_stored_once(self, lab: Lab) -> None:
        """While one waits or is in hand, and the receipts name that one; when it is done, the next is stored."""
        queue = lab.queue()
        receipts = [
            await queue.put("first", unique="job-1"),
            await queue.put("second", unique="job-1", headers={"h": "1"}),
            await queue.put("other", unique="job-2", headers={"h": "1"}),
        ]
        assert [receipt.id for receipt in receipts] == ["job-1", "job-1", "job-2"]
        message = await lab.receive(queue)
        assert (message.body, message.id, message.headers) == ("first", "job-1", {})
        await queue.put("third", unique="job-1")
        async with await lab.receive(queue) as other:
            assert (other.body, other.id) == ("other", "job-2")
        await message.ack()
        await lab.nothing(queue)
        await queue.put("fourth", unique="job-1")
        assert await lab.bodies(queue, 1) == ["fourth"]

    @needs("deduplication", "nack")
    async def test_what_is_unique_is_not_lost_by_a_nack(self, lab: Lab) -> None:
        """Although one of that name is in hand while it is given back; it keeps its id."""
        queue = lab.queue()
        await queue.put("x", unique="job-1")
        await (await lab.receive(queue)).nack()
        async with await lab.receive(queue) as again:
            assert (again.body, again.id) == ("x", "job-1")
        await lab.nothing(queue)

    @needs("deduplication", "headers")
    async def test_an_id_is_not_unique(self, lab: Lab) -> None:
        """It only makes a repeated put recognisable; giving both is a mistake."""
        queue = lab.queue()
        await queue.put("first", id="job-1")
        await queue.put("second", id="job-1")
        await queue.put("third", unique="job-1")
        with pytest.raises(InvalidArgument, match="give one of them"):
            await queue.put("x", unique="job-1", id="job-2")
        assert sorted(await lab.bodies(queue, 3)) == ["first", "second", "third"]
        await lab.nothing(queue)


def _frame(version: int, header: bytes, body: bytes, *, length: int | None = None) -> bytes:
    """An envelope with a right checksum around whatever is given; `docs/wire-format.md` describes it."""
    covered = bytes([version]) + (len(header) if length is None else length).to_bytes(4, "big") + header + body
    return MAGIC + crc32(covered).to_bytes(4, "big") + covered


DAMAGED: Final = {
    "newer": _frame(9, b"\x80", b"from the future"),
    "garbled": _frame(1, b"\xff\xff\xff", b"no header"),
    "short": _frame(1, b"\x81\xa1a\xa1b", b"body")[:-3],
    "checksum": MAGIC + bytes(4) + _frame(1, b"\x80", b"body")[8:],
    "endless": _frame(1, b"\x80", b"body", length=2**32 - 1),
}
