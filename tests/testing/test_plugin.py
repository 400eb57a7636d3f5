"""The pytest plugin, as an application meets it."""

import subprocess
import sys

import pytest

import unimq

pytestmark = pytest.mark.filterwarnings("ignore")

TEST = """
    def test_one(unimq_queue):
        assert unimq_queue.peek() == []
        unimq_queue.put({"n": 1})
        unimq_queue.put("left behind")
        with unimq_queue.get(timeout=1) as message:
            assert message.body == {"n": 1}

    def test_two(unimq_queue):
        assert unimq_queue.size() == 0
        unimq_queue.put("x")
        unimq_queue.get(timeout=0).reject("no")
        unimq_queue.close()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An application's tests, in a process that loads the plugin as pytest would."""
    pytester.makeini("[pytest]\naddopts = -p unimq.testing.plugin -p no:cacheprovider")
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run them; the entry point is left aside, because it may lead to another checkout."""
    return project.runpytest_subprocess("-p", "no:unimq", *arguments)


def test_the_fixture_is_an_empty_queue_of_its_own(project: pytest.Pytester) -> None:
    """What one test leaves the next does not see."""
    project.makepyfile(TEST)
    run(project).assert_outcomes(passed=2)


@pytest.mark.parametrize("how", ["option", "ini"])
def test_the_url_can_be_chosen(project: pytest.Pytester, how: str) -> None:
    """On the command line or in the ini file; nothing is left on the backend."""
    url = f"sqlite:///{project.path}/jobs.db"
    project.makepyfile(TEST + "    def test_which(unimq_queue):\n        assert 'sqlite' in repr(unimq_queue)\n")
    if how == "ini":
        project.makeini(f"[pytest]\naddopts = -p unimq.testing.plugin\nunimq_url = {url}")
        done = run(project)
    else:
        done = run(project, f"--unimq-url={url}")
    done.assert_outcomes(passed=3)
    with unimq.connect(url) as client:
        assert client.queues() == []


def test_a_profile_brings_its_refusals(project: pytest.Pytester) -> None:
    """A test on the profile of another backend meets what that backend cannot do."""
    project.makepyfile("""
        def test_levels(unimq_queue):
            assert unimq_queue.capabilities.survives_process_death == "yes"
    """)
    run(project, "--unimq-url=memory://?profile=sqlite").assert_outcomes(passed=1)


def test_the_option_wins_over_the_ini_file(project: pytest.Pytester) -> None:
    """The command line is nearer."""
    project.makeini("[pytest]\naddopts = -p unimq.testing.plugin\nunimq_url = nobody://")
    project.makepyfile(TEST)
    run(project, "--unimq-url=memory://").assert_outcomes(passed=2)


def test_the_fixture_is_listed_with_its_documentation(project: pytest.Pytester) -> None:
    """`pytest --fixtures` shows the first line."""
    done = run(project, "--fixtures")
    done.stdout.fnmatch_lines(["unimq_queue*", "*An empty `unimq.Queue` with a name of its own*"])


def test_loading_the_plugin_imports_almost_nothing() -> None:
    """Not the queue, not an adapter, not asyncio, not Hypothesis: only pytest, which is there already."""
    script = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import unimq.testing.plugin\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)  # noqa: S603
    assert done.stdout.split() == ["unimq", "unimq.testing", "unimq.testing.plugin", "unimq.version"]


def test_what_was_put_and_settled_is_seen(project: pytest.Pytester) -> None:
    """One by one and in batches, by a worker too, in order; not what failed, nor what another test did."""
    project.makepyfile("""
        import pytest
        import unimq

        def test_seen(unimq_queue, unimq_seen):
            name = unimq_queue.name
            unimq_queue.put("a", headers={"k": "v"})
            unimq_queue.put_many(["b", "c"])
            with pytest.raises(unimq.InvalidArgument):
                unimq_queue.put("d", priority=99)
            assert unimq_seen.put == [(name, "a"), (name, "b"), (name, "c")]
            unimq_queue.get(timeout=0).nack()
            first = unimq_queue.get(timeout=0)
            assert unimq_seen.settled == [(name, first.body, "nack")]
            unimq_queue.ack([first, *unimq_queue.get_many(5, timeout=0)])
            assert [one[2] for one in unimq_seen.settled] == ["nack", "ack", "ack", "ack"]
            assert unimq_seen.settled[-1].outcome == "ack"

        def test_a_worker(unimq_queue, unimq_seen):
            assert unimq_seen.put == []

            def work(message):
                if message.body == "bad":
                    raise unimq.Reject()

            unimq_queue.put_many(["good", "bad"])
            unimq_queue.client.queue("raw", codec="raw").put(b"{")
            handlers = {unimq_queue.name: work, "raw": work}
            unimq.Worker(unimq_queue.client, handlers).drain()
            name = unimq_queue.name
            expected = {(name, "good", "ack"), (name, "bad", "reject"), ("raw", b"{", "reject")}
            assert set(unimq_seen.settled) == expected
            unimq_seen.clear()
            assert (unimq_seen.put, unimq_seen.settled) == ([], [])

        async def use(url, hooks):
            async with unimq.AsyncQueue(url, hooks=hooks) as queue:
                await queue.put(1)
                async with await queue.get(timeout=5):
                    pass

        def test_another_client(unimq_seen):
            import asyncio
            asyncio.run(use("memory://elsewhere/jobs", unimq_seen.hooks))
            assert unimq_seen.put == [("jobs", 1)]
            assert unimq_seen.settled == [("jobs", 1, "ack")]
    """)
    run(project).assert_outcomes(passed=3)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///jobs.db"])
def test_the_clock_can_be_put_forward(project: pytest.Pytester, url: str) -> None:
    """Delays, leases, expiry and the pauses of retries end by it, and the clock is right again afterwards."""
    project.makepyfile("""
        import time
        import pytest
        import unimq

        start = time.time(), time.monotonic()

        def test_delay(unimq_queue, unimq_clock):
            unimq_queue.put("later", delay=3600)
            with pytest.raises(unimq.Empty):
                unimq_queue.get(timeout=0)
            unimq_clock.advance(3600)
            assert unimq_queue.get(timeout=0).body == "later"

        def test_lease(unimq_queue, unimq_clock):
            unimq_queue.put("x")
            unimq_queue.get(timeout=0)
            unimq_clock.advance(unimq_queue.client.settings.lease)
            assert unimq_queue.get(timeout=0).delivery_count == 2

        def test_expiry(unimq_queue, unimq_clock):
            unimq_queue.put("x", ttl=60)
            unimq_clock.advance(61)
            with pytest.raises(unimq.Empty):
                unimq_queue.get(timeout=0)

        def test_retries(unimq_queue, unimq_clock):
            def fail(message):
                raise LookupError(message.body)

            policy = unimq.RetryPolicy(attempts=3, pause=10, jitter=0)
            worker = unimq.Worker(unimq_queue.client, {unimq_queue.name: fail}, retry=policy)
            unimq_queue.put("x")
            assert worker.drain().retried == 1
            unimq_clock.advance(9)
            assert worker.drain().retried == 1
            unimq_clock.advance(1)
            assert worker.drain().retried == 2
            unimq_clock.advance(20)
            assert worker.drain().rejected == 1

        def test_it_does_not_go_back(unimq_clock):
            with pytest.raises(ValueError, match="must be 0 or more"):
                unimq_clock.advance(-1)

        def test_it_is_right_afterwards():
            assert time.time() - start[0] < 3600
            assert time.monotonic() - start[1] < 3600
    """)
    run(project, f"--unimq-url={url}").assert_outcomes(passed=6)
