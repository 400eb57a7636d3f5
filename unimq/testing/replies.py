"""Group 14: what a reply needs, `reply_to` and `message.reply`."""

import pytest

from unimq.errors import InvalidArgument
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import Lab

__all__ = ["Replies"]


class Replies(Cases):
    """A consumer can answer without knowing who asked."""

    @needs("headers")
    async def test_a_reply_goes_where_it_is_wanted(self, lab: Lab) -> None:
        """With the correlation id of the request."""
        queue, replies = lab.queue(), lab.queue(lab.other_name())
        await queue.put("question", reply_to=replies.name, correlation_id="q-1")
        async with await lab.receive(queue) as message:
            assert (message.reply_to, message.correlation_id) == (replies.name, "q-1")
            await message.reply("answer", headers={"h": "1"})
        async with await lab.receive(replies) as reply:
            assert (reply.body, reply.correlation_id) == ("answer", "q-1")
            assert reply.headers["h"] == "1"
            assert reply.reply_to is None

    @needs("headers")
    async def test_a_reply_without_a_correlation_id_has_the_message_id(self, lab: Lab) -> None:
        """So that who asked can tell which question was answered."""
        queue, replies = lab.queue(), lab.queue(lab.other_name())
        receipt = await queue.put("question", reply_to=replies.name)
        assert receipt.id is not None
        async with await lab.receive(queue) as message:
            await message.reply("answer")
        async with await lab.receive(replies) as reply:
            assert reply.correlation_id == receipt.id

    async def test_a_message_that_asks_for_no_reply(self, lab: Lab) -> None:
        """Replying to it is a mistake, and it can still be settled."""
        queue = lab.queue()
        await queue.put("statement")
        message = await lab.receive(queue)
        assert (message.reply_to, message.correlation_id) == (None, None)
        with pytest.raises(InvalidArgument, match="asks for no reply"):
            await message.reply("answer")
        await message.ack()
        await lab.nothing(queue)
