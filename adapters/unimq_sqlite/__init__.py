"""The embedded default: queues in a SQLite file, durable, for many processes and threads of one machine.

URL
    `sqlite:///jobs.db?queue=mail` is relative to the working directory at the time when the queue or client is made;
    `sqlite:////var/lib/app/jobs.db` is absolute. `?durability=full` (default) syncs every commit
    to the disk, `normal` leaves that to checkpoints. `?shared=true` makes the tables inside an application's own
    database, which then gets a write-ahead log.

Delivery
    At least once, in the order of priority and put. A lease belongs to the get that took the message; when it ends,
    or the consumer was killed, the message comes back with its count. A nacked message, and one whose delay or lease
    ended, goes to the place of its put, before its later equals. Of more than 2000 that become due in the same moment,
    those that were due earliest come first, whatever their priority.
    What a put stored survives the process being killed, with both durabilities; `full` a power loss too, while `normal`
    may lose the puts and settlements of the last moments before it, and never damages the file. A consumer's host is
    the store's host: what it held is there again when the machine is back, and gone with its disk.
    A get that waits wakes at once for a put in the same process, and looks every 40 ms for one of another process, and
    for a commit of the outbox. What has expired is removed by the next get that would have met it.

Limits
    A body has at most 500 MB. One writer at a time: the threads of a process take turns, other processes are waited
    for, up to the deadline, which ends in `Timeout`; a call whose deadline is over still waits 50 ms, and a get one
    second where a message is ready. A signal handler or finalizer that interrupts its own thread in the middle of a
    write is refused at once. On a full disk nothing can be put, taken or settled, because each writes to the log first:
    free some space, a few megabytes will do, then take and purge. The files have the permissions that the umask leaves,
    so that several users of a machine may share a queue: set it to 077, or protect the directory, where bodies are
    secret. All users on the same machine: SQLite needs shared memory for its log, so network file systems are refused
    or, worse, are not recognised. Leases, delays and expiry use the system's clock: setting it back prolongs them, and
    what is due by a clock that was set forward comes within two seconds. A file with a second name (a hard link, or a
    container's mount of the file alone) is refused, because its log is kept beside each name, and what one name
    confirmed the other loses: share or mount the directory. Each put with `?max_size=` counts what waits, up to that
    number. `stats` counts too. The file keeps its size when messages are gone, and uses the room again; `VACUUM`
    returns it. The log shrinks to 8 MiB after a long reader has let it grow. SQLite before 3.51.3 has a rare fault of
    the log that may damage a file; `unimq check` tells the version. A damaged row is an invalid message, and blocks
    none of the others. A file that is removed or replaced while it is open is noticed within a second; what was put
    into the old one meanwhile is gone with it, new connections use what is at the path.

Escape hatch
    `unimq_sqlite.put(connection, queue, body)` puts inside your own transaction. The table `unimq_messages` may be
    read by any SQLite tool; its version is in `unimq_meta`, and `PRAGMA user_version` is yours. A delivered message's
    `native` is `None`.
"""

from unimq_sqlite.driver import SQLiteDriver, driver
from unimq_sqlite.outbox import put

__all__ = ["SQLiteDriver", "driver", "put"]
