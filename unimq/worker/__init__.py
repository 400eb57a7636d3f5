"""Workers: handlers that are called with each message of a queue, retried by a policy, stopped without loss.

- `policy`: when a message is tried again, and when it is given up
- `handling`: what becomes of one message, whoever runs its handler
- `threads`: the worker itself: threads that take messages, signals, health
"""

from unimq.worker.handling import Handler, Middleware
from unimq.worker.policy import Reject, Retry, RetryPolicy
from unimq.worker.threads import Health, Worker

__all__ = ["Handler", "Health", "Middleware", "Reject", "Retry", "RetryPolicy", "Worker"]
