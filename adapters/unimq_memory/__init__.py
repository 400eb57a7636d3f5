"""The memory backend: in this process, for threads and asyncio; the reference of the contract.

URL
    `memory://` and `memory://name/queue`. Each name is a broker of its own; all clients of this process that name the
    same one share it, for as long as the process lives. `?profile=<scheme>` behaves as that backend declares itself,
    with its refusals, limits, nack order, lease and counting, so that unit tests meet them without its server.

Delivery
    At least once, to one consumer at a time, in the order of priority and put; a nacked message goes before its
    equals. A message that a closed queue held comes back when its lease ends. Everything is gone when the process
    ends. A forked child starts with copies of the queues as they were, and shares nothing with its parent from then on.

Limits
    The process's memory. Putting, getting and settling cost the same at any depth; `stats`, `size` and `cancel` take
    time that grows with the queue. A queue exists from its first put until it is deleted. Delays and expiry use the
    system's clock, leases do not: what is due by a clock that was set forward comes within two seconds.

Escape hatch
    `unimq_memory.broker(name)` is the broker itself, whose `clock` and `wall` a test may replace;
    `unimq_memory.reset(name)` forgets its queues, `reset()` those of all. A delivered message's `native` is `None`.
"""

from unimq_memory.broker import Broker, broker, reset
from unimq_memory.driver import MemoryDriver, driver

__all__ = ["Broker", "MemoryDriver", "broker", "driver", "reset"]
