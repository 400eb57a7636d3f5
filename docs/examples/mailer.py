"""A worker process as a process manager runs it: it stops on SIGTERM, and finishes what it has begun.

    python docs/examples/mailer.py --url beanstalkd://localhost/mail
    python docs/examples/mailer.py --url beanstalkd://localhost/mail --put 10

The first works until it is told to stop, the second puts mails. A manager (systemd, supervisord, Kubernetes) sends
SIGTERM, waits for longer than the grace, and starts again what ended by itself. The same from a shell, without a
program: `unimq work mailer:send --url ... --grace 20s`.
"""

import argparse
import logging
import time
from typing import Any

import unimq

GRACE = 20.0
"""Seconds for mails that have been begun. A manager has to wait for longer: systemd's TimeoutStopSec=, Kubernetes'
terminationGracePeriodSeconds."""
POLICY = unimq.RetryPolicy(attempts=None, pause=5)


def send(message: unimq.Message[Any]) -> None:
    """Send one mail, which takes a while."""
    print(f"begun {message.body}", flush=True)
    time.sleep(0.5)
    print(f"sent {message.body}", flush=True)


def main() -> None:
    """Put mails, or work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="the queue")
    parser.add_argument("--put", type=int, help="put so many mails, and end")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if arguments.put is not None:
        with unimq.Queue(arguments.url) as queue:
            queue.put_many(range(arguments.put))
        return
    worker = unimq.Worker(arguments.url, send, retry=POLICY, grace=GRACE)
    worker.run()  # until SIGTERM or Ctrl-C
    print(f"stopped, done {worker.health().done}", flush=True)


if __name__ == "__main__":
    main()
