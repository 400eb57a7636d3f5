"""The embedded default: queues in a SQLite file, durable, for many processes and threads of one machine.

URL
    `sqlite:///jobs.db?queue=mail` is relative to the working directory, `sqlite:////var/lib/app/jobs.db` absolute.
    `?durability=full` (default) syncs every commit to the disk, `normal` leaves that to checkpoints.
    `?shared=true` makes the tables inside an application's own database.

Delivery
    At least once, in the order of priority and put. A lease belongs to the get that took the message; when it ends,
    or the consumer was killed, the message comes back with its count. A nacked message goes before its equals.
    What a put stored survives the process being killed; a power loss too with `durability=full`.

Limits
    A body has at most 500 MB. One writer at a time; all users on the same machine (no network file systems). Leases
    and delays use the system's clock: setting it back prolongs them.

Escape hatch
    `unimq_sqlite.put(connection, queue, body)` puts inside your own transaction. The table `unimq_messages` may be
    read by any SQLite tool. A delivered message's `native` is `None`.
"""

from unimq_sqlite.driver import SQLiteDriver, driver
from unimq_sqlite.outbox import put

__all__ = ["SQLiteDriver", "driver", "put"]
