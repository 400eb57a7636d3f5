"""Options: every kind is read and checked, and what is wrong is explained with what would be right."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq import options
from unimq.errors import InvalidArgument, InvalidURL
from unimq.options import CORE, Option, Settings, count, parse_duration, parse_size, seconds, timeout_seconds
from unimq.url import URL

OWN = (
    Option("colour", "text", "red", "A colour.", choices=("red", "blue")),
    Option("verbose", "bool", default=False, doc="More."),
    Option("buffer", "size", 1024, "Bytes.", minimum=1, maximum=2**20),
    Option("level", "int", 3, "A level.", minimum=-5, maximum=5),
    Option("pass_phrase", "int", None, "A secret number.", secret=True),
)


def read(query: str) -> dict[str, Any]:
    return options.read(URL.parse(f"x://h?{query}"), OWN)


def test_every_kind_is_read() -> None:
    """Texts of a URL become Python's values; what is not given has its default."""
    assert read("") == {"colour": "red", "verbose": False, "buffer": 1024, "level": 3, "pass_phrase": None}
    assert read("colour=blue&verbose=yes&buffer=64KiB&level=-5&pass_phrase=7") == {
        "colour": "blue", "verbose": True, "buffer": 65536, "level": -5, "pass_phrase": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("colour=bleu", "one of red, blue, did you mean 'blue'"),
        ("verbose=perhaps", "true or false"),
        ("buffer=2MiB", "size, 1 to 1048576"),
        ("buffer=much", "a size such as"),
        ("level=6", "-5 to 5"),
        ("level=1.5", "whole number"),
        ("level=" + "9" * 30, "whole number"),
        ("level=٣", "whole number"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(query: str, said: str) -> None:
    """The option, the value and the range."""
    with pytest.raises(InvalidURL) as caught:
        read(query)
    assert said in str(caught.value)
    assert query.partition("=")[0] in str(caught.value)


def test_a_secret_value_is_not_shown() -> None:
    """Not even when it is wrong."""
    with pytest.raises(InvalidURL) as caught:
        read("pass_phrase=opensesame")
    assert str(caught.value) == "x://h?pass_phrase=***: option pass_phrase=***: must be a whole number"


def test_a_url_as_a_wrong_value_is_not_shown() -> None:
    """It may have a password."""
    with pytest.raises(InvalidURL) as caught:
        read("level=x://ada:opensesame%40h")
    assert "opensesame" not in str(caught.value)
    assert "level=***" in str(caught.value)


def test_a_secret_option_says_so_by_its_name() -> None:
    """A URL is shown before its driver, who knows its options, is looked for."""
    with pytest.raises(InvalidArgument, match="'code': a word of its name must be password"):
        Option("code", "int", None, "A number.", secret=True)


def test_a_dead_letter_url_is_checked_and_hidden() -> None:
    """When the queue is made, not at the first reject; it may have a password."""
    url = URL.parse("x://h").with_options(dead="y://ada:opensesame@h/dead")
    settings = Settings.read(url, ())
    assert settings.dead == "y://ada:opensesame@h/dead"
    assert "opensesame" not in repr(settings) + str(url)
    with pytest.raises(InvalidURL, match=r"^x://h\?dead=y://\*\*\*: option dead: y://\*\*\*: a port") as caught:
        Settings.read(url.with_options(dead="y://ada:opensesame@h:0"), ())
    assert "opensesame" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_unknown_option_is_named_with_the_nearest_and_all() -> None:
    """Those of the core and of the driver."""
    with pytest.raises(InvalidURL, match=r"'coulour', did you mean 'colour'\?; known for x: .*buffer, .*lease"):
        Settings.read(URL.parse("x://h?coulour=red"), OWN)


def test_a_misspelt_secret_is_not_shown() -> None:
    """Nobody knows yet that it is one."""
    with pytest.raises(InvalidURL, match=r"^memory://h: unknown option 'pasword', did you mean 'pass") as caught:
        Settings.read(URL.parse("memory://h?pasword=hunter2&lease=5s"), OWN)
    assert "hunter2" not in str(caught.value)


def test_the_driver_s_options_are_checked_with_the_core_s() -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidURL, match="level"):
        Settings.read(URL.parse("x://h?level=9"), OWN)


def test_settings_are_typed() -> None:
    """Durations in seconds, names as a set, defaults as documented."""
    url = URL.parse("x://h?lease=250ms&max_deliveries=3&require=delay,%20at-least-once&prefetch=5&timeout=2m")
    settings = Settings.read(url, ())
    assert (settings.lease, settings.max_deliveries, settings.prefetch, settings.timeout) == (0.25, 3, 5, 120.0)
    assert settings.require == {"delay", "at-least-once"}
    assert (settings.codec, settings.envelope, settings.invalid) == ("json", "auto", "raise")
    assert settings.given() == {"lease", "max_deliveries", "require", "prefetch", "timeout"}


def test_a_call_s_arguments_take_the_place_of_options() -> None:
    """Checked in the same ranges."""
    settings = Settings.read(URL.parse("x://h"), ())
    changed = settings.but(lease=timedelta(seconds=5), max_deliveries=2, codec="raw")
    assert (changed.lease, changed.max_deliveries, changed.codec) == (5.0, 2, "raw")
    assert settings.but() is settings
    wrong: list[dict[str, Any]] = [
        {"lease": 0.01}, {"lease": "5s"}, {"lease": math.nan}, {"max_deliveries": 0}, {"max_deliveries": True},
        {"max_deliveries": "3"}, {"codec": "yaml"}, {"codec": 7},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(InvalidArgument, match=next(iter(change))):
            settings.but(**change)


def test_names_are_given_in_many_ways() -> None:
    """A set, a list, or one text with commas; a text is never taken for its characters."""
    settings = Settings.read(URL.parse("x://h"), ())
    for names in ({"delay", "ttl"}, ["ttl", "delay"], ("ttl", "delay"), "delay, ttl"):
        assert settings.but(require=names).require == {"delay", "ttl"}
    for wrong in (7, [7], b"delay", {"delay": 1}):
        with pytest.raises(InvalidArgument, match="require=.*names"):
            settings.but(require=wrong)


def test_an_unknown_argument_is_named_with_the_nearest_and_all() -> None:
    """As an unknown option of a URL is."""
    settings = Settings.read(URL.parse("x://h"), ())
    with pytest.raises(InvalidArgument, match=r"'laese', did you mean 'lease'\?; known: codec, "):
        settings.but(laese=5)


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), ("250ms", 0.25), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400), ("0", 0)]
)
def test_durations_are_read(text: str, value: float) -> None:
    """A number is seconds."""
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1w", "1e3", "nan", "inf", "1" * 19, "٣s", "1S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With examples of what is."""
    with pytest.raises(ValueError, match="250ms"):
        parse_duration(text)


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "lease"])
def test_no_duration_is_longer_than_a_century(name: str) -> None:
    """Or a clock's arithmetic would overflow where it is used."""
    with pytest.raises(InvalidURL, match="36500d"):
        Settings.read(URL.parse(f"x://h?{name}=36501d"), ())


def test_a_size_is_a_whole_number_of_bytes() -> None:
    """Exact, however large."""
    assert parse_size("0.5KiB") == 512
    assert parse_size("9007199254740993") == 2**53 + 1
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_size("1.5")


def test_sizes_are_read() -> None:
    """In powers of ten and of two."""
    sizes = {"100": 100, "1kB": 1000, "1KiB": 1024, "2MB": 2_000_000, "2MiB": 2**21, "1GB": 10**9, "1GiB": 2**30}
    assert {text: parse_size(text) for text in sizes} == sizes
    with pytest.raises(ValueError, match="64KiB"):
        parse_size("1kb")


@given(st.floats() | st.integers() | st.text() | st.none() | st.booleans() | st.timedeltas() | st.binary())
def test_a_duration_argument_is_seconds_or_refused(value: Any) -> None:
    """Whatever it is; the error names the argument."""
    try:
        result = seconds(value, "pause")
    except InvalidArgument as error:
        assert "pause=" in str(error)
        assert len(str(error)) < 300
    else:
        assert type(result) is float
        assert 0 <= result <= options.LONGEST


def test_absurd_values_are_shown_short() -> None:
    """Also those that Python itself refuses to write."""
    for value in (10**5000, "x" * 10_000, type("Mute", (), {"__repr__": lambda self: 1 / 0})()):
        with pytest.raises(InvalidArgument) as caught:
            seconds(value, "pause")  # type: ignore[arg-type]
        assert len(str(caught.value)) < 200


def test_counts_and_timeouts_are_checked() -> None:
    """An int in its range; seconds, or None for ever."""
    assert count(5, "limit") == 5
    for wrong in (0, 10_001, True, "5", 5.0):
        with pytest.raises(InvalidArgument, match="limit=.*from 1 to 10000"):
            count(wrong, "limit")  # type: ignore[arg-type]
    assert timeout_seconds(None) is None
    assert timeout_seconds(timedelta(milliseconds=5)) == 0.005


@pytest.mark.parametrize(
    ("option", "row"),
    [
        (Option("x", "duration", 90.0, "X.", minimum=0), "| `x` | duration, at least 0s | `90s` | X. |"),
        (Option("x", "duration", 3661.0, "X.", maximum=7200), "| `x` | duration, at most 2h | `3661s` | X. |"),
        (Option("x", "duration", 0.25, "X.", minimum=60, maximum=86400), "| `x` | duration, 1m to 1d | `250ms` | X. |"),
        (Option("x", "int", 1, "X.", maximum=5), "| `x` | whole number, at most 5 | `1` | X. |"),
    ],
)
def test_a_row_says_exactly_what_holds(option: Option, row: str) -> None:
    """No range is half written, and no duration rounded."""
    assert options.markdown_table([option]).splitlines()[-1] == row


def test_the_table_shows_every_option() -> None:
    """For the documentation: ranges in words, durations with units."""
    table = options.markdown_table((*CORE, *OWN))
    for option in (*CORE, *OWN):
        assert f"| `{option.name}` |" in table
    assert "| `lease` | duration, 50ms to 36500d | `1m` |" in table
    assert "| `colour` | `red`, `blue` | `red` | A colour. |" in table
    assert "| `verbose` | bool | `false` | More. |" in table
    assert "| `max_deliveries` | whole number, at least 1 |  |" in table
