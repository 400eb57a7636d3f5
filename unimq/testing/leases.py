"""Group 5: leases end, and can be prolonged."""

import gc
import time

import pytest

from unimq.errors import LeaseLost
from unimq.hooks import Hooks
from unimq.testing.cases import Cases
from unimq.testing.gates import needs
from unimq.testing.lab import PATIENCE, Lab

__all__ = ["Leases"]

_SLACK = 0.01
"""Seconds that two clocks may differ by."""


class Leases(Cases):
    """A message belongs to its consumer until the lease ends, and not longer."""

    @needs("kept-once-received", "lease")
    async def test_a_lease_ends_and_the_message_comes_back(self, lab: Lab) -> None:
        """Not before the lease is over, and to whoever asks next."""
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        start = time.monotonic()
        message = await lab.receive(queue)
        assert message.lease_remaining is None or 0 < message.lease_remaining <= PATIENCE
        again = await lab.receive(lab.keeper())
        assert time.monotonic() - start >= lab.lease - _SLACK
        assert (again.body, again.id) == ("x", message.id)
        assert again.redelivered is not False
        await again.ack()
        await lab.nothing(queue, 1.5 * lab.lease)

    @needs("kept-once-received", "lease")
    @pytest.mark.parametrize("way", ["ack", "nack", "reject", "extend"])
    async def test_settling_after_the_lease_is_refused(self, lab: Lab, way: str) -> None:
        """`LeaseLost`; and the second consumer, who has the message now, is not disturbed."""
        needed = {"nack": "nack", "reject": "dead_letters", "extend": "extend"}.get(way)
        if needed and not lab.capabilities[needed]:
            pytest.skip(f"{needed} is absent here; its refusal has a case of its own")
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        message = await lab.receive(queue)
        again = await lab.receive(lab.keeper())
        with pytest.raises(LeaseLost):
            await getattr(message, way)()
        await again.ack()
        await lab.nothing(queue, lab.lease)
        if lab.capabilities.dead_letters:
            await lab.nothing(queue.dead, 0)

    @needs("kept-once-received", "lease", "extend")
    async def test_a_lease_is_kept_while_the_work_goes_on(self, lab: Lab) -> None:
        """However long it takes, nobody else gets the message; once it is settled nothing is extended any more."""
        queue = lab.queue(lease=1.0)
        await queue.put("x")
        message = await lab.receive(queue)
        async with message.keep():
            await lab.nothing(lab.queue(), 2.5)
        await lab.nothing(lab.queue(), 0.1)
        assert message.settled

    @needs("kept-once-received", "lease", "extend")
    async def test_a_lease_is_not_kept_for_a_message_that_was_forgotten(self, lab: Lab) -> None:
        """It ends, as that of a consumer that died."""
        if lab.capabilities.lease.level == "layered":
            pytest.skip("unimq itself has the message in hand until the lease ends")
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        (await lab.receive(queue)).keep()
        gc.collect()
        assert await lab.bodies(lab.keeper(), 1) == ["x"]

    @needs("kept-once-received", "lease")
    async def test_work_that_took_longer_than_its_lease_ends_no_loop(
        self, lab: Lab, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is done, and was delivered again: a warning and the hook tell of it, and nothing is raised."""
        told: list[str] = []
        queue = lab.queue(lease=lab.lease, hooks=Hooks(settle=lambda _, outcome: told.append(outcome)))
        await queue.put("x")
        async with await lab.receive(queue):
            again = await lab.receive(lab.keeper())
        await again.ack()
        assert told == ["lost"]
        assert [record.name for record in caplog.records if "delivered again" in record.getMessage()] == ["unimq"]
        await lab.nothing(queue)

    @needs("kept-once-received", "lease")
    async def test_an_ack_after_the_lease_is_refused_before_anybody_else_has_it(self, lab: Lab) -> None:
        """The message is still delivered again: an ack that raised removed nothing."""
        queue = lab.queue(lease=lab.lease)
        await queue.put("x")
        message = await lab.receive(queue)
        remaining = message.lease_remaining
        # A layered one is ended by a thread of unimq, a moment later.
        late = 0.5 if lab.capabilities.lease.level == "layered" else 0.1
        await lab.sleep((lab.lease if remaining is None else remaining) + late)
        with pytest.raises(LeaseLost):
            await message.ack()
        assert await lab.bodies(lab.keeper(), 1) == ["x"]

    @needs("kept-once-received", "lease")
    async def test_a_lease_belongs_to_one_message(self, lab: Lab) -> None:
        """A neighbour that was got later is kept longer."""
        queue = lab.queue(lease=3 * lab.lease)
        await queue.put_many(["a", "b"])
        first = await lab.receive(queue)
        await lab.sleep(2 * lab.lease)
        second = await lab.receive(queue)
        again = await lab.receive(lab.keeper())
        assert again.body == first.body
        await second.ack()
        await again.ack()
        await lab.nothing(queue)

    @needs("kept-once-received", "lease", "extend")
    async def test_an_extended_lease_lasts(self, lab: Lab) -> None:
        """No fewer seconds than were granted, and no fewer are granted than were asked for."""
        queue = lab.queue(lease=2 * lab.lease)
        await queue.put("x")
        message = await lab.receive(queue)
        asked = 3 * lab.lease
        start = time.monotonic()
        granted = await message.extend(asked) if lab.capabilities.lease_by != "put" else await message.extend()
        if lab.capabilities.lease_by != "put":
            assert granted >= asked
        remaining = message.lease_remaining
        assert remaining is None or remaining <= granted + _SLACK
        again = await lab.receive(lab.keeper())
        assert time.monotonic() - start >= granted - _SLACK
        await again.ack()
        with pytest.raises(LeaseLost):
            await message.ack()

    @needs("kept-once-received", "lease", "extend")
    async def test_a_job_that_keeps_extending_keeps_its_message(self, lab: Lab) -> None:
        """Longer than two leases; then it can be acked."""
        queue = lab.queue(lease=2 * lab.lease)
        await queue.put("x")
        message = await lab.receive(queue)
        until = time.monotonic() + 5 * lab.lease
        while time.monotonic() < until:
            assert await message.extend() >= 2 * lab.lease - _SLACK
            await lab.nothing(queue, lab.lease / 5)
        await message.ack()
        await lab.nothing(queue)

    @needs("kept-once-received", "lease", "extend", lease_by="get")
    async def test_a_lease_can_be_shortened(self, lab: Lab) -> None:
        """`extend` counts from now."""
        queue = lab.queue(lease=60.0)
        await queue.put("x")
        message = await lab.receive(queue)
        granted = await message.extend(lab.lease)
        assert granted >= lab.lease
        if granted < PATIENCE / 2:
            assert await lab.bodies(queue, 1) == ["x"]
