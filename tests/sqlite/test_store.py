"""The file: made, recognised, migrated, refused; and what is said when it cannot be used."""

import multiprocessing
import os
import sqlite3
import time
from pathlib import Path

import pytest

import unimq
from unimq_sqlite import schema, store
from unimq_sqlite.store import open_store, translate


def queue_of(path: Path, options: str = "") -> "unimq.Queue[object]":
    return unimq.Queue(f"sqlite:///{path}?queue=jobs&{options}")


def test_a_file_of_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    """The error names the file and the way out; the application's tables stay as they are."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = path.read_bytes()
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match=r"app\.db.*shared=true"):
        queue.put(1)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    """Such as a text."""
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match="no SQLite database"):
        queue.put(1)
    assert path.read_text() == "remember the milk\n" * 100


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Nothing is guessed about tables that do not exist yet."""
    path = tmp_path / "jobs.db"
    with queue_of(path) as queue:
        queue.put(1)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE unimq_meta SET value = 99 WHERE name = 'version'")
    connection.close()
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match="version 99.*upgrade unimq"):
        queue.put(2)


def test_an_older_version_is_migrated_with_its_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version adds a column; what was stored by this one is delivered."""
    path = tmp_path / "jobs.db"
    with queue_of(path) as queue:
        queue.put("kept")
    later = (*schema.MIGRATIONS, ("ALTER TABLE unimq_messages ADD COLUMN colour TEXT",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "VERSION", 2)
    with queue_of(path) as queue:
        assert queue.get(timeout=0).body == "kept"
    connection = sqlite3.connect(path)
    assert schema.version_of(connection) == 2
    connection.close()


def test_the_tables_can_live_in_an_application_s_database(tmp_path: Path) -> None:
    """Where that is asked for."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name)")
    connection.close()
    with queue_of(path, "shared=true") as queue:
        queue.put("x")
    with queue_of(path) as queue:
        assert queue.get(timeout=0).body == "x"


@pytest.mark.parametrize("path", [":memory:", ""])
def test_a_store_needs_a_file(path: str) -> None:
    """In memory there is another backend."""
    with unimq.Queue(f"sqlite:///{path}?queue=jobs") as queue, pytest.raises(unimq.StorageError, match="memory://"):
        queue.put(1)


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    """And not made."""
    with queue_of(tmp_path / "no" / "jobs.db") as queue, pytest.raises(unimq.StorageError, match="does not exist"):
        queue.put(1)


def test_a_host_is_refused() -> None:
    """The commonest slip: two slashes instead of three."""
    with pytest.raises(unimq.InvalidURL, match="sqlite:///"):
        unimq.Queue("sqlite://jobs.db?queue=jobs")


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    """What was stored before is still delivered."""
    with queue_of(tmp_path / "jobs.db", "max_sessions=1") as queue:
        queue.put("kept")
        store = queue.client.pool.sessions[0].session._store  # type: ignore[attr-defined]
        pages = store.execute("PRAGMA page_count").fetchall()[0][0]
        store.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        with pytest.raises(unimq.StorageError, match="full") as caught:
            queue.put("x" * 100_000)
        assert not caught.value.in_doubt
        with pytest.raises(unimq.BatchError):
            queue.put_many(["x" * 50_000] * 3)
        assert queue.size() == 1
        assert queue.get(timeout=0).body == "kept"


def test_a_read_only_store_is_said(tmp_path: Path) -> None:
    """Reading it is possible, storing is not."""
    with queue_of(tmp_path / "jobs.db", "max_sessions=1") as queue:
        queue.put("kept")
        queue.client.pool.sessions[0].session._store.execute("PRAGMA query_only = 1")  # type: ignore[attr-defined]
        with pytest.raises(unimq.StorageError, match="read-only"):
            queue.put("x")
        assert queue.peek()[0].body == "kept"


def test_a_locked_file_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    """Another process that keeps the write lock makes a `Timeout`, in time, and nothing is stored."""
    path = tmp_path / "jobs.db"
    with queue_of(path) as queue:
        queue.put(1)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(unimq.Timeout, match="locked") as caught:
            queue.put(2, timeout=0.3)
        assert 0.25 < time.monotonic() - start < 1.5
        assert not caught.value.in_doubt
        blocker.execute("ROLLBACK")
        blocker.close()
        queue.put(3)
        assert queue.size() == 2


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    """Not a traceback of another library."""
    path = tmp_path / "jobs.db"
    with queue_of(path) as queue:
        queue.put_many(["x" * 1000] * 100)
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match="damaged|no SQLite"):
        queue.get(timeout=0)


def test_an_unknown_error_keeps_sqlite_s_words() -> None:
    """Whatever it is."""
    error = translate(sqlite3.IntegrityError("CHECK constraint failed"), "jobs.db")
    assert type(error) is unimq.ServerError
    assert "CHECK constraint failed" in str(error)


def test_tables_that_disappear_are_said(tmp_path: Path) -> None:
    """Somebody replaced the file under a running process."""
    path = tmp_path / "jobs.db"
    with queue_of(path) as queue:
        queue.put(1)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("DROP TABLE unimq_messages")
        connection.close()
        with pytest.raises(unimq.ConnectError, match="tables are gone"):
            queue.put(2)


def test_somebody_who_makes_the_tables_meanwhile_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two looks of the one who opens."""
    path = tmp_path / "jobs.db"
    look = schema.version_of

    def slow(connection: sqlite3.Connection) -> int | None:
        monkeypatch.setattr(schema, "version_of", look)
        with queue_of(path) as other:
            other.put("other")
        return look(connection)

    monkeypatch.setattr(schema, "version_of", slow)
    open_store(str(path), shared=False, durability="full", deadline=time.monotonic() + 5).connection.close()
    with queue_of(path) as queue:
        queue.put("own")
        assert queue.size() >= 1


@pytest.mark.parametrize("meta", ["(name, value)", "(colour)", "(name TEXT, value TEXT)"])
def test_an_odd_table_of_versions_is_said(tmp_path: Path, meta: str) -> None:
    """It has no version, or something that is none."""
    path = tmp_path / "odd.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE unimq_meta {meta}")
        if "TEXT" in meta:
            connection.execute("INSERT INTO unimq_meta VALUES ('version', 'many')")
    connection.close()
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match=r"odd\.db.*unimq_meta has no version"):
        queue.put(1)


def test_an_empty_file_of_another_application_is_refused(tmp_path: Path) -> None:
    """Its application id says whose it is, before it has tables."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 42")
    connection.close()
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match="something else"):
        queue.put(1)


def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    """Each name would have a log of its own; one name again, and it is used."""
    path, other = tmp_path / "one.db", tmp_path / "two.db"
    with queue_of(path) as queue:
        queue.put(1)
    other.hardlink_to(path)
    for name in (path, other):
        with queue_of(name) as queue, pytest.raises(unimq.StorageError, match="2 names .*mount its directory"):
            queue.put(2)
    other.unlink()
    with queue_of(path) as queue:
        assert queue.size() == 1


def test_a_file_that_is_mounted_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers do it: its log would be beside another name there."""
    path = tmp_path / "my jobs.db"
    with queue_of(path) as queue:
        queue.put(1)
    mounts = tmp_path / "mountinfo"
    where = str(path).replace(" ", "\\040")
    mounts.write_text(f"36 35 98:0 / / rw - ext4 /dev/root rw\n37 36 98:0 /mnt {where} rw - ext4 /dev/root rw\n")
    monkeypatch.setattr(store, "_MOUNTS", str(mounts))
    with queue_of(path) as queue, pytest.raises(unimq.StorageError, match="a mount of its own.*mount its directory"):
        queue.put(2)


def test_a_relative_path_is_fixed_when_the_client_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its directory afterwards keeps its file, and `file:` begins a name like any other."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("jobs.db", "file:jobs.db"):
        with unimq.connect(f"sqlite:///{name}") as client:
            queue = client.queue("jobs")
            queue.put("before")
            monkeypatch.chdir("run")
            # While the one session is in use, so that the put needs a new connection.
            client.pool.lend(client.pool.hosts[0], time.monotonic() + 5, lambda _, queue: queue.put("after"), queue)
            monkeypatch.chdir(tmp_path)
        assert os.listdir("run") == []  # noqa: PTH208 - names are wanted, not paths
        with queue_of(tmp_path / name) as queue:
            assert [one.body for one in queue.peek(10)] == ["before", "after"]


def _open(path: str) -> None:
    with unimq.Queue(f"sqlite:///{path}?queue=jobs") as queue:
        queue.put(os.getpid())


@pytest.mark.slow
def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """One makes the tables, the others find them."""
    context = multiprocessing.get_context("spawn")
    path = str(tmp_path / "jobs.db")
    processes = [context.Process(target=_open, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    with queue_of(Path(path)) as queue:
        assert queue.size() == 4


def test_durability_reaches_sqlite(tmp_path: Path) -> None:
    """full is synchronous=2, normal is 1."""
    for name, level in (("full", 2), ("normal", 1)):
        store = open_store(str(tmp_path / f"{name}.db"), shared=False, durability=name, deadline=time.monotonic() + 5)
        assert store.execute("PRAGMA synchronous").fetchall() == [(level,)]
        store.connection.close()


def test_the_body_s_limit_is_kept_before_anything_is_stored(tmp_path: Path) -> None:
    """500 MB, without making one: the capability is what is compared."""
    with queue_of(tmp_path / "jobs.db") as queue:
        assert queue.capabilities.limits.body == 500_000_000
