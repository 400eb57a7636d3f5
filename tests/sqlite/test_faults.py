"""What is said when the file cannot be used, and that nothing is lost by it."""

import contextlib
import errno
import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import unimq
import unimq_sqlite
from unimq.driver import Outgoing
from unimq.errors import ConnectError, ConnectionLost, InvalidURL, ServerError, StorageError, Timeout
from unimq.testing.sessions import open_session
from unimq.url import URL
from unimq_sqlite import schema, store
from unimq_sqlite.faults import translate
from unimq_sqlite.session import SQLiteSession

INF = math.inf
Open = Callable[..., SQLiteSession]


def foreign(path: str) -> sqlite3.Connection:
    """A database of an application."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE customers (name)")
    connection.execute("INSERT INTO customers VALUES ('Ada')")
    connection.execute("PRAGMA user_version = 42")
    return connection


def test_a_database_of_something_else_is_refused_and_untouched(path: str, connect: Open) -> None:
    """Its bytes stay the same; the error names the file and the way out."""
    foreign(path).close()
    before = Path(path).read_bytes()
    with pytest.raises(StorageError, match=r"jobs\.db.*something else.*shared=true"):
        connect()
    assert Path(path).read_bytes() == before


def test_a_shared_database_keeps_its_own_version_and_rows(path: str, connect: Open) -> None:
    """The tables live beside the application's; afterwards it is ours without the option too."""
    foreign(path).close()
    connect("?shared=true").send("q", [Outgoing(b"x")], INF)
    assert connect().stats("q", INF).ready == 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchall() == [(42,)]
    assert connection.execute("PRAGMA application_id").fetchall() == [(0,)]
    assert connection.execute("SELECT name FROM customers").fetchall() == [("Ada",)]
    connection.close()


@pytest.mark.parametrize("content", [b"remember the milk\n" * 100, b"\0" * 5000, b"x"])
def test_what_is_no_database_is_refused_and_untouched(path: str, connect: Open, content: bytes) -> None:
    """A text, zeros, one byte."""
    Path(path).write_bytes(content)
    with pytest.raises(StorageError, match=r"jobs\.db.*no SQLite database.*name another file") as caught:
        connect()
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError) or len(content) < 512
    assert Path(path).read_bytes() == content


def test_an_empty_file_is_a_new_store(path: str, connect: Open) -> None:
    """As `mktemp` makes one."""
    Path(path).touch()
    assert connect().send("q", [Outgoing(b"x")], INF)


def test_a_newer_version_is_refused(session: SQLiteSession, connect: Open) -> None:
    """Nothing is guessed about what does not exist yet."""
    session._store.execute("UPDATE unimq_meta SET value = 99 WHERE name = 'version'")
    with pytest.raises(StorageError, match=r"jobs\.db.*version 99.*upgrade unimq"):
        connect()


def test_an_older_version_is_migrated_with_its_messages(
    session: SQLiteSession, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step; what was stored is delivered."""
    session.send("q", [Outgoing(b"kept")], INF)
    later = (
        *schema.MIGRATIONS,
        ("ALTER TABLE unimq_messages ADD COLUMN colour TEXT",),
        ("UPDATE unimq_messages SET colour = 'red'",),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "VERSION", 3)
    newer = connect()
    assert newer._store.rows(INF, "SELECT colour FROM unimq_messages") == [("red",)]
    assert newer.receive(["q"], 1, 60.0, 0.0)[0].body == b"kept"
    assert schema.version_of(newer._store.connection) == 3


def test_a_migration_that_fails_changes_nothing(
    session: SQLiteSession, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one transaction; the old version goes on working."""
    broken = (*schema.MIGRATIONS, ("ALTER TABLE unimq_messages ADD COLUMN colour TEXT", "CREATE NONSENSE"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(ServerError, match="NONSENSE"):
        connect()
    monkeypatch.undo()
    assert connect().send("q", [Outgoing(b"x")], INF)
    assert "colour" not in str(session._store.rows(INF, "SELECT sql FROM sqlite_master"))


@pytest.mark.parametrize("where", ["", ":memory:"])
def test_a_store_needs_a_file(connect: Open, where: str) -> None:
    """In memory there is another backend."""
    with pytest.raises(StorageError, match="memory://"):
        connect(where=where)


def test_a_path_with_a_nul_is_refused(connect: Open) -> None:
    """Not with an error of another library."""
    with pytest.raises(InvalidURL, match="control character"):
        connect(where="a%00b.db")


def test_a_host_is_refused_before_anything_is_opened() -> None:
    """The commonest slip: two slashes instead of three."""
    with pytest.raises(InvalidURL, match=r"sqlite:///relative\.db"):
        unimq_sqlite.driver.capabilities(URL.parse("sqlite://jobs.db"))


def test_a_missing_directory_is_said_and_not_made(tmp_path: Path, connect: Open) -> None:
    """The error names it."""
    with pytest.raises(StorageError, match=r"'.*nowhere' does not exist: create it") as caught:
        connect(where=f"{tmp_path}/nowhere/jobs.db")
    assert caught.value.errno == errno.ENOENT
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file(tmp_path: Path, connect: Open) -> None:
    """It is said so, in words."""
    with pytest.raises(StorageError, match="is a directory") as caught:
        connect(where=str(tmp_path))
    assert caught.value.errno == errno.EISDIR


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, connect: Open) -> None:
    """Before 3.35 there is no RETURNING."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StorageError, match=r"at least 3\.35"):
        connect()


def test_a_file_that_cannot_have_a_write_ahead_log_is_refused(monkeypatch: pytest.MonkeyPatch, connect: Open) -> None:
    """As on a network file system, where SQLite stays with another journal."""
    rows = store.Store.rows

    def stays(self: store.Store, deadline: float, statement: str, values: tuple[object, ...] = ()) -> list[object]:
        return [("delete",)] if "journal_mode" in statement else rows(self, deadline, statement, values)

    monkeypatch.setattr(store.Store, "rows", stays)
    with pytest.raises(StorageError, match=r"journal_mode is delete.*local disk"):
        connect()


def test_a_full_disk_is_said_and_loses_nothing(session: SQLiteSession) -> None:
    """By a put, a batch and a move; what was stored is delivered, and with room again everything works."""
    session.send("q", [Outgoing(b"kept"), Outgoing(b"held")], INF)
    pages = session._store.rows(INF, "PRAGMA page_count")[0][0]
    session._store.rows(INF, f"PRAGMA max_page_count = {pages}")
    kept, held = session.receive(["q"], 2, 60.0, 0.0)
    for number in (1, 3):
        with pytest.raises(StorageError, match=r"jobs\.db.*disk is full.*free some space") as caught:
            session.send("q", [Outgoing(b"x" * 100_000)] * number, INF)
        assert not caught.value.in_doubt
    with pytest.raises(StorageError, match="disk is full"):
        session.move("dead", [(held, Outgoing(b"x" * 100_000))], INF)
    assert session.ack([kept, held], INF) == [None, None]
    session._store.rows(INF, "PRAGMA max_page_count = 1000000")
    assert session.send("q", [Outgoing(b"x" * 100_000)], INF)
    assert session.stats("q", INF).ready == 1


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Nobody may write what is read-only, as root could."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def read_only(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A store with a message, in a read-only file or in a read-only directory, for every user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session = open_session(unimq_sqlite.driver, f"sqlite:///{folder}/jobs.db")
        session.send("q", [Outgoing(b"kept")], INF)
        session.close()
        (folder / "jobs.db").chmod(0o444 if request.param == "file" else 0o666)
        folder.chmod(0o777 if request.param == "file" else 0o555)
        yield folder / "jobs.db"
        folder.chmod(0o700)


@pytest.mark.parametrize("read_only", ["file", "directory"], indirect=True)
def test_a_read_only_store_is_said_and_kept(read_only: Path, connect: Open) -> None:
    """Whether the file is, or its directory, where SQLite cannot make its log."""
    with ordinary_user(), pytest.raises(StorageError, match=r"jobs\.db.*permissions") as caught:
        connect(where=str(read_only)).send("q", [Outgoing(b"x")], INF)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert b"kept" in read_only.read_bytes()


def test_a_file_that_is_locked_while_it_is_opened_is_a_timeout(path: str, session: SQLiteSession) -> None:
    """Within the deadline of the connect; the lock is the strongest there is."""
    session.close()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    blocker.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    with pytest.raises(Timeout, match=r"jobs\.db.*locked"):
        open_session(unimq_sqlite.driver, f"sqlite:///{path}", start + 0.2)
    assert 0.2 <= time.monotonic() - start < 0.6
    blocker.close()


def test_a_damaged_file_is_said(path: str, session: SQLiteSession, connect: Open) -> None:
    """With what to do about it."""
    session.send("q", [Outgoing(b"x" * 1000)] * 100, INF)
    session.close()
    damaged = bytearray(Path(path).read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    Path(path).write_bytes(damaged)
    with pytest.raises(StorageError, match=r"damaged.*backup"):
        connect().receive(["q"], 1, 60.0, 0.0)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_put_into_a_file_that_is_gone_is_refused(
    session: SQLiteSession, connect: Open, path: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself would store it in the file without a name, and lose it; a new connection uses what is there."""
    monkeypatch.setattr("unimq_sqlite.store._CHECK_EVERY", 0.0)
    session.send("q", [Outgoing(b"x")], INF)
    for suffix in ("", "-wal", "-shm"):
        Path(path + suffix).unlink()
    if how == "replaced":
        Path(path).touch()
    with pytest.raises(ConnectionLost, match="removed or replaced") as caught:
        session.send("q", [Outgoing(b"x")], INF)
    assert not caught.value.in_doubt
    with pytest.raises(ConnectionLost):
        session.ping(INF)
    assert connect().send("q", [Outgoing(b"x")], INF)


def test_a_relative_path_stays_with_its_file(connect: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the working directory does not make an open connection lose it."""
    monkeypatch.chdir(tmp_path)
    session = connect(where="rel.db")
    monkeypatch.chdir("/")
    assert session.ping(INF)
    assert (tmp_path / "rel.db").exists()


def test_tables_that_disappear_are_said(session: SQLiteSession) -> None:
    """Somebody else dropped them."""
    session._store.execute("DROP TABLE unimq_messages")
    with pytest.raises(ConnectError, match="tables are gone"):
        session.send("q", [Outgoing(b"x")], INF)


def test_an_error_of_the_disk_leaves_a_put_in_doubt() -> None:
    """It may have failed after the commit."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    translated = translate(error, "jobs.db")
    assert isinstance(translated, StorageError)
    assert translated.in_doubt


def test_an_unknown_error_keeps_sqlites_words() -> None:
    """Whatever it is."""
    error = translate(sqlite3.IntegrityError("CHECK constraint failed"), "jobs.db")
    assert type(error) is ServerError
    assert "CHECK constraint failed" in str(error)


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_durability_reaches_sqlite(connect: Open, durability: str, level: int) -> None:
    """full syncs each commit, normal each checkpoint."""
    assert connect(f"?durability={durability}")._store.rows(INF, "PRAGMA synchronous") == [(level,)]


def test_the_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    """A backup that reads for long lets it grow, and not for ever."""
    path, log = tmp_path / "jobs.db", tmp_path / "jobs.db-wal"
    with unimq.Queue(f"sqlite:///{path}?queue=jobs&durability=normal", codec="raw") as queue:
        queue.ping()
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM unimq_messages").fetchall()
        for _ in range(12):
            queue.put(bytes(1_000_000))
        assert log.stat().st_size > 11_000_000
        reader.execute("ROLLBACK")
        reader.close()
        for _ in range(6):
            queue.put(bytes(1_000_000))
        assert log.stat().st_size <= 9 << 20


def test_a_full_disk_has_its_number(session: SQLiteSession) -> None:
    """As an `OSError` has; the text says what an operator does."""
    session.send("q", [Outgoing(b"x")], INF)
    pages = session._store.execute("PRAGMA page_count").fetchall()[0][0]
    session._store.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="disk is full") as caught:
        session.send("q", [Outgoing(bytes(100_000))], INF)
    assert caught.value.errno == errno.ENOSPC
    assert session.peek("q", 1, INF)[0].body == b"x"


@pytest.mark.parametrize(("version", "warned"), [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)])
def test_a_ping_warns_of_a_sqlite_with_a_published_fault(
    session: SQLiteSession, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], *, warned: bool
) -> None:
    """So that `unimq check` shows it."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert ("may damage a file" in session.ping(INF)) is warned
