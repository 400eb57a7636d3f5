"""Two servers with a store in one URL, under load: one is killed, and comes back with what it had."""

from collections.abc import Callable

from harness import Recipe, Running
from harness.load import working


def test_nothing_confirmed_is_lost(private: Callable[[Recipe], Running], stored: Recipe) -> None:
    """Puts and gets go on with the one that lives, and what the killed one had arrives when it is back."""
    killed, other = private(stored), private(stored)
    hosts = f"127.0.0.1:{killed.port},127.0.0.1:{other.port}"
    with working(f"gearman://{hosts}/jobs?stored=yes&timeout=2s&connect_timeout=500ms") as load:
        load.put_more(200)
        killed.kill()
        load.put_more(300)
        killed.start()
        load.put_more(300)
    seen = set(load.seen)
    print(
        f"{len(load.tried)} tried, {len(load.confirmed)} confirmed, {len(load.failed)} failed, "
        f"{len(load.seen) - len(seen)} duplicates"
    )
    assert not load.broken
    assert load.confirmed <= seen
    assert seen <= load.tried
