"""The conformance suite: every group of cases in one class."""

from unimq.testing.admin import Admin
from unimq.testing.badinput import BadInput
from unimq.testing.batches import Batches
from unimq.testing.concurrency import Concurrency
from unimq.testing.counting import Counting
from unimq.testing.faults import Faults
from unimq.testing.getting import Getting
from unimq.testing.hygiene import Hygiene
from unimq.testing.leases import Leases
from unimq.testing.model import Model
from unimq.testing.opening import Opening
from unimq.testing.ordering import Ordering
from unimq.testing.refusals import Refusals
from unimq.testing.replies import Replies
from unimq.testing.roundtrip import RoundTrip
from unimq.testing.settling import Settling
from unimq.testing.urloptions import URLOptions
from unimq.testing.workers import Workers

__all__ = ["QueueConformance"]


class QueueConformance(
    Opening,
    RoundTrip,
    Getting,
    Settling,
    Leases,
    Ordering,
    Counting,
    Batches,
    Concurrency,
    Admin,
    Refusals,
    URLOptions,
    BadInput,
    Hygiene,
    Replies,
    Workers,
    Model,
):
    """What every backend must do. Subclass it as `Test...`, and give it a fixture `url`: the connection URL to test.

    Queues are made and removed by the cases, with names of their own.

    A subclass that also has a fixture `server`, a `unimq.testing.Server`, gets the cases of `Faults` as well. Without
    one they do not exist for it, so that no report counts them.
    """

    def __init_subclass__(cls) -> None:
        """Add the cases that need a server to break."""
        super().__init_subclass__()
        if hasattr(cls, "server"):
            for name, case in vars(Faults).items():
                if name.startswith("test_"):
                    setattr(cls, name, case)
