"""The SQL, constant so that it is prepared once per connection.

Parameters: ?1 is the queue and ?2 the time now (Unix epoch, seconds) wherever both are there.

What is due is dealt with by statements of its own (`RIPEN`, `DROP_EXPIRED`), only when there is any: the taking
statement finds nothing then, which costs one look into the index of due ones and saves a statement in every other get.
Those that may meet very many messages do `CHUNK` of them at a time, so that nobody waits long for the write lock.
"""

from typing import Final

CHUNK: Final = 2000

_COLUMNS: Final = "seq, rank, nonce, count, own_id, expires, enqueued, headers, body"
_FRESH: Final = "(expires IS NULL OR expires > ?2)"
_DUE: Final = "queue = ?1 AND due <= ?2 AND due < 1e300"
_NEXT: Final = f"SELECT seq FROM unimq_messages WHERE queue = ?1 AND state = 0 AND {_FRESH} ORDER BY rank, seq LIMIT"
_LEASE: Final = "UPDATE unimq_messages SET due = ?3, state = 1, count = count + 1"
_NOTHING_DUE: Final = f"NOT EXISTS (SELECT 1 FROM unimq_messages WHERE {_DUE})"
_MINE: Final = "WHERE seq = ? AND nonce = ? AND count = ? AND state = 1 AND due > ?"

INSERT: Final = (
    "INSERT INTO unimq_messages (seq, queue, rank, due, state, nonce, count, own_id, expires, enqueued, headers, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_PLAIN: Final = (
    "INSERT INTO unimq_messages (seq, queue, rank, due, state, nonce, count, enqueued, body)"
    " VALUES (?, ?, ?, 1e300, 0, ?, 0, ?, ?)"
)
"""For a message with nothing but a body: binding the rest is a tenth of the cost, and a third in a batch."""
LAST: Final = "SELECT coalesce(max(seq), 0) FROM unimq_messages"

TAKE_ONE: Final = f"{_LEASE} WHERE seq = ({_NEXT} 1) AND {_NOTHING_DUE} RETURNING {_COLUMNS}"
TAKE_MANY: Final = f"{_LEASE} WHERE seq IN ({_NEXT} ?4) AND {_NOTHING_DUE} RETURNING {_COLUMNS}"
TAKE_ANYWAY: Final = f"{_LEASE} WHERE seq IN ({_NEXT} ?4) RETURNING {_COLUMNS}"
LOOK: Final = (
    "SELECT EXISTS (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND state = 0),"
    " (SELECT min(due) FROM unimq_messages WHERE queue = ?1 AND due < 1e300)"
)
DROP_EXPIRED: Final = (
    "DELETE FROM unimq_messages WHERE seq IN (SELECT seq FROM"
    f" (SELECT seq, expires FROM unimq_messages WHERE {_DUE} ORDER BY due LIMIT {CHUNK}) WHERE expires <= ?2)"
)
RIPEN: Final = (
    "UPDATE unimq_messages SET state = 0, due = coalesce(expires, 1e300)"
    f" WHERE seq IN (SELECT seq FROM unimq_messages WHERE {_DUE} ORDER BY due LIMIT {CHUNK})"
)

ACK: Final = f"DELETE FROM unimq_messages {_MINE}"
RELEASE: Final = f"UPDATE unimq_messages SET state = 0, due = coalesce(expires, 1e300) {_MINE}"
RELEASE_UNSEEN: Final = (
    f"UPDATE unimq_messages SET state = 0, due = coalesce(expires, 1e300), count = count - 1 {_MINE}"
)
RELEASE_LATER: Final = f"UPDATE unimq_messages SET state = 2, due = ? {_MINE}"
EXTEND: Final = f"UPDATE unimq_messages SET due = ? {_MINE}"

WAITING: Final = (
    "SELECT (SELECT count(*) FROM (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND state = 0 LIMIT ?2)) + (SELECT"
    " count(*) FROM (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND due < 1e300 AND state = 2 LIMIT ?2))"
)
PEEK: Final = (
    f"SELECT * FROM (SELECT {_COLUMNS} FROM unimq_messages WHERE queue = ?1 AND state = 0 AND {_FRESH}"
    f" ORDER BY rank, seq LIMIT ?3) UNION ALL SELECT * FROM (SELECT {_COLUMNS} FROM unimq_messages"
    f" WHERE {_DUE} AND state <> 0 AND {_FRESH} ORDER BY rank, seq LIMIT ?3) ORDER BY rank, seq LIMIT ?3"
)
STATS: Final = (
    "SELECT * FROM (SELECT count(*), min(enqueued) FROM unimq_messages"
    f" WHERE queue = ?1 AND state = 0 AND {_FRESH}),"
    f" (SELECT count(*), min(enqueued) FROM unimq_messages WHERE {_DUE} AND state <> 0 AND {_FRESH}),"
    " (SELECT count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 1) FROM unimq_messages"
    " WHERE queue = ?1 AND due > ?2 AND due < 1e300)"
)
"""Ready, and what became ready and was not touched since: count and oldest of each; then delayed and leased."""

_DELETE: Final = "DELETE FROM unimq_messages WHERE seq IN (SELECT seq FROM unimq_messages WHERE queue = ?1 AND"
DELETE_READY: Final = f"{_DELETE} state = 0 AND seq <= ?2 LIMIT ?3)"
DELETE_DELAYED: Final = f"{_DELETE} due < 1e300 AND state = 2 AND seq <= ?2 LIMIT ?3)"
DELETE_DUE: Final = f"{_DELETE} due < 1e300 AND seq <= ?2 LIMIT ?3)"

_NOBODYS: Final = "AND (state <> 1 OR due <= ?2) AND (expires IS NULL OR expires > ?2)"
CANCEL_OWN: Final = f"DELETE FROM unimq_messages WHERE queue = ?1 AND own_id = ?3 {_NOBODYS}"
CANCEL: Final = f"DELETE FROM unimq_messages WHERE seq = ?3 AND nonce = ?4 AND queue = ?1 AND own_id IS NULL {_NOBODYS}"
QUEUES: Final = (
    "WITH RECURSIVE waiting(name) AS (SELECT min(queue) FROM unimq_messages WHERE state = 0"
    " UNION SELECT (SELECT min(queue) FROM unimq_messages WHERE state = 0 AND queue > name) FROM waiting"
    " WHERE name IS NOT NULL),"
    " others(name) AS (SELECT min(queue) FROM unimq_messages WHERE due < 1e300"
    " UNION SELECT (SELECT min(queue) FROM unimq_messages WHERE due < 1e300 AND queue > name) FROM others"
    " WHERE name IS NOT NULL)"
    " SELECT name FROM waiting WHERE name IS NOT NULL UNION SELECT name FROM others WHERE name IS NOT NULL ORDER BY 1"
)
