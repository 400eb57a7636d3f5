"""Request and reply: a process that answers, and one that asks.

    python docs/examples/prices.py
    python docs/examples/prices.py --url beanstalkd://localhost/prices

The answering side is a worker whose handler returns the reply. The asking side calls, one by one or many at once; what
the worker rejects is an error there, and an answer that does not come in time is another.
"""

import argparse
import tempfile
import threading
from typing import Any

import unimq

PRICES = {"tea": 12, "salt": 2, "sugar": 5}


def price(message: unimq.Message[Any]) -> int:
    """The price of what is asked for."""
    what = message.body
    if what not in PRICES:
        msg = f"nobody sells {what}"
        raise unimq.Reject(msg)
    return PRICES[what]


def ask(queue: unimq.Queue[Any]) -> None:
    """Ask for one, for many, and for one that there is not."""
    print("tea:", queue.call("tea", timeout=20).body)
    replies = queue.call_many(["salt", "sugar"], timeout=20)
    print("salt and sugar:", sum(reply.body for reply in replies))
    try:
        queue.call("gold", timeout=20)
    except unimq.RemoteError as error:
        print("gold:", str(error).rpartition(": ")[2])


def main() -> None:
    """Answer in a thread, which could as well be another process, and ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="the queue; a file in a folder of its own by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/shop.db?queue=prices"
        with unimq.Queue(url, require={"call"}) as queue:
            worker = unimq.Worker(queue.client, {queue.name: price}, retry=unimq.RetryPolicy(attempts=None))
            thread = threading.Thread(target=worker.run)
            thread.start()
            try:
                ask(queue)
            finally:
                worker.stop()
                thread.join()


if __name__ == "__main__":
    main()
