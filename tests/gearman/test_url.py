"""What a URL of Gearman may say, and what it changes."""

import pytest

from unimq.errors import InvalidURL
from unimq.url import URL
from unimq_gearman import driver


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("gearman://user:secret@host/jobs", "knows no users"),
        ("gearman+unix:///socket", "no transport 'unix'"),
        ("gearman://host/jobs?tls_ca=x.pem", r"gearman\+ssl://"),
    ],
)
def test_what_gearmand_does_not_have_is_refused(url: str, why: str) -> None:
    """With a remedy, and without the password."""
    with pytest.raises(InvalidURL, match=why) as caught:
        driver.capabilities(URL.parse(url))
    assert "secret" not in str(caught.value)


def test_a_store_is_believed_when_the_url_says_so() -> None:
    """The server does not tell, so nothing is promised without."""
    assert driver.capabilities(URL.parse("gearman://host/jobs")).survives_server_restart == "unknown"
    assert driver.capabilities(URL.parse("gearman://host/jobs?stored=yes")).survives_server_restart == "yes"


def test_delays_cost_the_purge() -> None:
    """What is not due cannot be taken."""
    plain = driver.capabilities(URL.parse("gearman://host/jobs"))
    assert plain.purge
    assert not plain.nack_delay
    delayed = driver.capabilities(URL.parse("gearman://host/jobs?emulate=delay"))
    assert not delayed.purge
    assert delayed.nack_delay
