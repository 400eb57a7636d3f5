"""The example programs on real servers: nothing is changed but the URL."""

from collections.abc import Callable, Iterator

import pytest
from activemq.recipes import BROKER
from beanstalkd.recipes import PLAIN as BEANSTALKD
from gearmand.recipes import PLAIN as GEARMAN
from harness import Recipe
from memcacheq.recipes import SERVER as MEMCACHEQ
from programs import PIPELINE, PRICES, Manager, example
from zeromq.recipes import ON_SQLITE, holding

import unimq
from unimq.testing.lab import fresh_name

SERVERS = {"beanstalkd": BEANSTALKD, "activemq": BROKER, "gearman": GEARMAN, "memcacheq": MEMCACHEQ}


@pytest.fixture(scope="module", params=[*SERVERS, "zeromq"])
def backend(request: pytest.FixtureRequest, shared: Callable[[Recipe], str]) -> Iterator[str]:
    """The URL of a server, without a queue."""
    if request.param == "zeromq":
        with holding(ON_SQLITE) as holder:
            yield holder.url
    else:
        yield shared(SERVERS[request.param])


@pytest.fixture
def url(backend: str) -> str:
    """With a queue of its own."""
    return str(unimq.URL.parse(backend).with_options(queue=fresh_name()).reveal())


def test_a_pipeline_with_retries_and_dead_letters(backend: str) -> None:
    """What is wrong is given up, what is mended goes back, and the total is right."""
    try:
        assert example("pipeline.py", "--url", backend) == PIPELINE
    finally:
        with unimq.connect(backend) as client:
            client.queue("lines.dead").purge()


def test_request_and_reply(url: str) -> None:
    """One call, many, and one that is refused."""
    assert example("prices.py", "--url", url, logs=True) == PRICES


def test_an_asyncio_service(url: str) -> None:
    """Each job is done once, many at the same time."""
    told = example("service.py", "--jobs", "400", "--url", url)[-1]
    assert told.startswith("jobs 400, twice 0, left ")
    assert int(told.rpartition(" ")[2]) > 20


def test_a_worker_process_that_is_stopped(url: str) -> None:
    """It finishes what it has begun; what it left is there when it is started again."""
    manager = Manager(url)
    manager.put(3)
    assert manager.run_until_begun(1) == ["begun 0", "sent 0", "stopped, done 1"]
    assert manager.run_until_begun(2) == ["begun 1", "sent 1", "begun 2", "sent 2", "stopped, done 2"]
