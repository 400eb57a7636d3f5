"""A message as STOMP headers and back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.driver import Outgoing
from unimq.errors import AuthenticationFailed, ServerError, StorageError, TooLarge
from unimq_activemq.frames import Frame
from unimq_activemq.mapping import counted, delivery_of, headers_of
from unimq_activemq.refusals import refusal

MEANT = [
    *("destination", "expires", "Priority", "AMQ_SCHEDULED_DELAY", "JMSXGroupID", "receipt", "transaction", "id"),
    *("reply-to", "content-length", "unimq-h.x", "amq-msg-type", "activemq.prefetchSize", "selector", "persistent"),
]
OWN = st.text(min_size=1, max_size=20).filter(lambda key: not key.startswith("unimq-"))  # reserved, no user's
KEYS = st.one_of(st.sampled_from(MEANT), OWN)


@given(st.dictionaries(KEYS, st.text(max_size=20), max_size=8))
def test_headers_come_back_and_mean_nothing(headers: dict[str, str]) -> None:
    """Whatever the keys: the broker sees none that it would understand, the consumer those that were given."""
    sent, name = headers_of("q", Outgoing(b"", headers=headers), persistent=True)
    assert {key: sent[key] for key in ("destination", "persistent", "unimq-id")} == {
        "destination": "/queue/q",
        "persistent": "true",
        "unimq-id": name,
    }
    strange = {key for key in sent if key not in headers}
    assert strange <= {"destination", "persistent", "unimq-id"} | {f"unimq-h.{key}" for key in headers}
    arrived = {**sent, "message-id": "ID:1", "priority": "4", "timestamp": "1000"}
    delivery = delivery_of("q", Frame("MESSAGE", arrived, b""), ("1", "2"))
    assert (delivery.headers or {}) == headers
    assert (delivery.id, delivery.priority, delivery.enqueued_at) == (name, 4, 1.0)


def test_a_delay_is_never_shortened() -> None:
    """It is rounded up to a millisecond; 0 is left out; expiry counts from the put, though the broker restarts it."""
    expires = time.time() + 10
    sent, _ = headers_of("q", Outgoing(b"", delay=1.0001, expires_at=expires), persistent=False)
    assert sent["AMQ_SCHEDULED_DELAY"] == "1001"
    assert int(sent["expires"]) + 1001 == int(sent["unimq-until"])
    assert delivery_of("q", Frame("MESSAGE", sent, b""), None).expires_at == pytest.approx(expires, abs=0.0011)
    assert "persistent" not in sent
    plain, _ = headers_of("q", Outgoing(b"", priority=4), persistent=False)
    assert set(plain) == {"destination", "unimq-id"}


def test_what_a_foreign_program_sent_is_delivered() -> None:
    """Its own headers and those of Jakarta Messaging; a number that is none is not known."""
    told = {"message-id": "ID:7", "correlation-id": "c", "type": "t", "expires": "soon", "colour": "red"}
    delivery = delivery_of("q", Frame("MESSAGE", told, b"x"), None)
    assert delivery.headers == {"correlation-id": "c", "type": "t", "colour": "red"}
    assert (delivery.id, delivery.expires_at, delivery.enqueued_at, delivery.redelivered) == ("ID:7", None, None, False)


def test_a_flag_of_redelivery_is_no_proof() -> None:
    """It is set for what was on its way to a subscription that ended, too."""
    assert delivery_of("q", Frame("MESSAGE", {"redelivered": "true"}, b""), None).redelivered is None


def test_a_copy_counts_one_more_and_keeps_the_rest() -> None:
    """What a foreign program sent keeps its id, its place in time and its headers; a second copy counts on."""
    told = {"message-id": "ID:7", "priority": "7", "timestamp": "5500", "expires": "9000", "correlation-id": "c"}
    first = counted(delivery_of("q", Frame("MESSAGE", told, b"x"), None))
    assert first == Outgoing(
        b"x", {"correlation-id": "c", "unimq-count": "1", "unimq-enqueued": "5.500"}, "ID:7", 7, expires_at=9.0
    )
    sent, _ = headers_of("q", first, persistent=True)
    second = counted(delivery_of("q", Frame("MESSAGE", {**sent, "timestamp": "7000"}, b"x"), None))
    assert second.headers == {**(first.headers or {}), "unimq-count": "2"}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("User name [x] or password is invalid.", AuthenticationFailed),
        ("User unimq is not authorized to write to: queue://q", AuthenticationFailed),
        ("Usage Manager Memory Limit reached. Stopping producer", StorageError),
        ("Persistent store is Full, 100% of 9437184.", StorageError),
        ("The maximum data length was exceeded", TooLarge),
        ("The maximum number of headers was exceeded", TooLarge),
        ("Unexpected ACK received for message-id [null]", ServerError),
    ],
)
def test_refusals_are_told_apart(words: str, kind: type[ServerError]) -> None:
    """By the broker's words, which are in the text."""
    told = refusal("activemq://h/q", words)
    assert type(told) is kind
    assert words in str(told)
