"""Profiles conform too: memory that behaves as backends would that can do less, or do it in another way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from unimq import registry
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.testing import QueueConformance
from unimq.testing.lab import Lab


@dataclass(frozen=True)
class HandMade:
    """A driver that only declares."""

    declared: Capabilities
    name: str = "handmade"
    contract: int = 1
    library: None = None
    install: str = ""
    port: None = None
    path_is_queue: bool = True
    options: tuple[()] = ()

    def capabilities(self, _url: object) -> Capabilities:
        return self.declared

    def open(self, url: object, deadline: float, *, options: object, known: object = None) -> Any:
        raise NotImplementedError


class OnProfile(QueueConformance):
    """Conformance of `memory://?profile=handmade` with the capabilities of a subclass."""

    declared: Capabilities
    test_ctrl_c_leaves_a_usable_queue = None
    """Another process knows nothing of what is registered here."""

    @pytest.fixture
    def url(self) -> Iterator[str]:
        registry.register("handmade", HandMade(self.declared))
        yield "memory://profiles?profile=handmade"
        registry.unregister("handmade")


class OnOneFace(OnProfile):
    """Where the asyncio face would tell nothing new."""

    @pytest.fixture(params=["sync"])
    def lab(self, request: pytest.FixtureRequest, url: str) -> Iterator[Lab]:
        with Lab(request.param, url) as lab:
            yield lab


class TestFireAndForget(OnProfile):
    """A broker that hands out and forgets, with small limits."""

    declared = Capabilities(
        guarantee="at-most-once",
        confirmed=False,
        order="none",
        limits=Limits(body=4000, name=60, headers=2000),
    )


class TestNothingButBytes(OnOneFace):
    """A pipe: even what unimq could add is not there."""

    declared = Capabilities(
        guarantee="at-most-once",
        order="fifo",
        ttl=absent(),
        headers=absent(),
        delivery_count=absent(),
        dead_letters=absent(),
        limits=Limits(body=1 << 16, name=100, name_characters="[a-z0-9.]"),
    )


class TestLeasedByThePut(OnProfile):
    """A work queue whose leases are fixed by the put, and whose connections are in step with their deliveries."""

    declared = Capabilities(
        guarantee="at-least-once",
        priority=native(),
        delay=native(),
        nack=native(),
        nack_delay=native(),
        lease=native(),
        extend=native(),
        delivery_count=native(),
        peek=native(),
        stats=native(),
        purge=native(),
        queues=native(),
        order="fifo-until-redelivery",
        nack_place="front",
        lease_by="put",
        counts="fetches",
        priority_levels=10,
        limits=Limits(body=1 << 16, name=200),
    )


class TestLeasedByTheConnection(OnProfile):
    """A message broker: headers of its own, leases that unimq keeps, requeueing by a move to the tail."""

    declared = Capabilities(
        guarantee="at-least-once",
        priority=native(),
        delay=native(),
        ttl=native(),
        headers=native(),
        nack=layered(),
        nack_delay=layered(),
        lease=layered(),
        extend=layered(),
        delivery_count=layered(),
        order="fifo-until-redelivery",
        nack_place="tail",
        lease_by="connection",
        counts="nacks",
        atomic_move=True,
        priority_levels=10,
        keeps=frozenset({"id", "priority"}),
    )


class TestThreePriorities(OnOneFace):
    """A job server: three priorities, no delays, no leases but the connection's."""

    declared = Capabilities(
        guarantee="at-least-once",
        priority=native(),
        nack=layered(),
        stats=native(),
        order="fifo-until-redelivery",
        nack_place="tail",
        lease_by="connection",
        counts="nacks",
        priority_levels=3,
        limits=Limits(body=1 << 20, name=64),
    )
