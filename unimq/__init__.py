"""One queue over many message backends, chosen by a connection URL.

    from unimq import Queue

    with Queue("sqlite:///jobs.db?queue=hello") as queue:
        queue.put({"greet": "world"})
        with queue.get(timeout=5) as message:
            print(message.body)
"""

__version__ = "0.1.0"
