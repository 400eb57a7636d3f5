"""The SQL, constant so that it is prepared once per connection.

What is due is made ready by a statement of its own, only when there is any: the taking statement finds nothing then,
which costs one look into the index of due ones and saves a statement in every other get.
"""

from typing import Final

_COLUMNS: Final = "seq, rank, nonce, count, own_id, expires, enqueued, headers, body"
_NOTHING_DUE: Final = "NOT EXISTS (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND due <= ?2)"
_NEXT: Final = "SELECT seq FROM unimq_messages WHERE queue = ?1 AND due IS NULL ORDER BY rank, seq LIMIT"
_LEASE: Final = "UPDATE unimq_messages SET due = ?3, held = 1, count = count + 1"
_MINE: Final = "WHERE seq = ? AND nonce = ? AND count = ? AND held = 1 AND due > ?"

INSERT: Final = (
    "INSERT INTO unimq_messages (seq, queue, rank, due, held, nonce, count, own_id, expires, enqueued, headers, body)"
    " VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_PLAIN: Final = (
    "INSERT INTO unimq_messages (queue, rank, held, nonce, count, enqueued, body) VALUES (?, ?, 0, ?, 0, ?, ?)"
)
"""For a message with nothing but a body: binding six nulls costs as much as a tenth of the insert."""
LAST: Final = "SELECT coalesce(max(seq), 0) FROM unimq_messages"

TAKE_ONE: Final = f"{_LEASE} WHERE seq = ({_NEXT} 1) AND {_NOTHING_DUE} RETURNING {_COLUMNS}"
TAKE_MANY: Final = f"{_LEASE} WHERE seq IN ({_NEXT} ?4) AND {_NOTHING_DUE} RETURNING {_COLUMNS}"
MAKE_READY: Final = "UPDATE unimq_messages SET due = NULL, held = 0 WHERE queue = ? AND due <= ?"
NEXT_DUE: Final = "SELECT min(due) FROM unimq_messages WHERE queue = ? AND due IS NOT NULL"
DROP: Final = "DELETE FROM unimq_messages WHERE seq = ?"

ACK: Final = f"DELETE FROM unimq_messages {_MINE}"
RELEASE: Final = f"UPDATE unimq_messages SET due = ?, held = 0 {_MINE}"
EXTEND: Final = f"UPDATE unimq_messages SET due = ? {_MINE}"

WAITING: Final = (
    "SELECT (SELECT count(*) FROM (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND due IS NULL LIMIT ?2)) +"
    " (SELECT count(*) FROM (SELECT 1 FROM unimq_messages WHERE queue = ?1 AND due IS NOT NULL AND NOT held LIMIT ?2))"
)
PEEK: Final = (
    f"SELECT {_COLUMNS} FROM unimq_messages WHERE queue = ?1 AND due IS NULL"
    " AND (expires IS NULL OR expires > ?2) ORDER BY rank, seq LIMIT ?3"
)
COUNT_READY: Final = (
    "SELECT count(*), min(enqueued) FROM unimq_messages"
    " WHERE queue = ? AND due IS NULL AND (expires IS NULL OR expires > ?)"
)
COUNT_DUE: Final = (
    "SELECT count(*) FILTER (WHERE NOT held), count(*) FILTER (WHERE held) FROM unimq_messages"
    " WHERE queue = ? AND due IS NOT NULL"
)
DELETE_READY: Final = "DELETE FROM unimq_messages WHERE queue = ? AND due IS NULL"
DELETE_DELAYED: Final = "DELETE FROM unimq_messages WHERE queue = ? AND due IS NOT NULL AND NOT held"
DELETE_DUE: Final = "DELETE FROM unimq_messages WHERE queue = ? AND due IS NOT NULL"
CANCEL_OWN: Final = "DELETE FROM unimq_messages WHERE queue = ?1 AND own_id = ?2 AND (held = 0 OR due <= ?3)"
CANCEL: Final = (
    "DELETE FROM unimq_messages WHERE seq = ?2 AND nonce = ?3 AND queue = ?1 AND own_id IS NULL"
    " AND (held = 0 OR due <= ?4)"
)
QUEUES: Final = (
    "WITH RECURSIVE names(name) AS (SELECT min(queue) FROM unimq_messages WHERE due IS NULL"
    " UNION SELECT (SELECT min(queue) FROM unimq_messages WHERE due IS NULL AND queue > name) FROM names"
    " WHERE name IS NOT NULL),"
    " others(name) AS (SELECT min(queue) FROM unimq_messages WHERE due IS NOT NULL"
    " UNION SELECT (SELECT min(queue) FROM unimq_messages WHERE due IS NOT NULL AND queue > name) FROM others"
    " WHERE name IS NOT NULL)"
    " SELECT name FROM names WHERE name IS NOT NULL UNION SELECT name FROM others WHERE name IS NOT NULL ORDER BY 1"
)
