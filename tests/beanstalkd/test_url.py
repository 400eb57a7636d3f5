"""What a URL of beanstalkd may say."""

import pytest

import unimq
from unimq import URL
from unimq.errors import InvalidURL
from unimq_beanstalkd import driver


@pytest.mark.parametrize("text", ["beanstalkd://me@host/q", "beanstalkd://me:hunter2@host/q"])
def test_users_are_refused(text: str) -> None:
    """There are none; and the password is not shown."""
    with pytest.raises(InvalidURL, match="knows no users") as caught:
        unimq.Queue(text)
    assert "hunter2" not in str(caught.value)


def test_unknown_transports_are_refused() -> None:
    """With those that there are."""
    with pytest.raises(InvalidURL, match=r"beanstalkd\+unix"):
        driver.capabilities(URL.parse("beanstalkd+ssl://host/q"))


@pytest.mark.parametrize("name", ["-x", "a:b", "a b", "a\r\nput 0 0 1 1", "ü"])
def test_names_that_could_speak_are_refused(name: str) -> None:
    """Before anything is connected."""
    with unimq.connect("beanstalkd://127.0.0.1:1/") as client, pytest.raises(unimq.InvalidName):
        client.queue(name).put("x")
