"""What several commands take in the same way: the URL, the queue, the codec, durations, and `--json`."""

import contextlib
import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, TypeVar

import click

import unimq
from unimq import registry
from unimq.cli.show import note
from unimq.options import parse_duration

__all__ = [
    "codec_option",
    "count_option",
    "duration",
    "existing",
    "harmless",
    "json_option",
    "looks_like_url",
    "message_queue",
    "queue_option",
    "raw_option",
    "telling_what_is_made",
    "two_urls",
    "url_argument",
    "url_or_variable",
]

F = TypeVar("F", bound=Callable[..., Any])

_CODECS: Final = ("json", "msgpack", "text", "raw")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def looks_like_url(text: str) -> bool:
    """Whether it begins with `scheme://`: no JSON does."""
    return _URL.match(text) is not None


def _given(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    return url_or_variable(url)


def url_or_variable(url: str | None) -> str | None:
    """The URL as it was given; `None` takes it from UNIMQ_URL, which then must be there."""
    if url is None and not os.environ.get("UNIMQ_URL"):
        msg = "a URL is missing, such as 'sqlite:///jobs.db?queue=mail': give one, or set UNIMQ_URL"
        raise click.UsageError(msg, click.get_current_context())
    return url


def two_urls(url: str | None, other: str | None) -> tuple[str | None, str]:
    """The one to move from, and the one to move to; where one is given it is the latter."""
    if other is not None:
        return url_or_variable(url), other
    context = click.get_current_context()
    if url is None:
        msg = "the URL to move to is missing, such as 'beanstalkd://host/jobs'"
        raise click.UsageError(msg, context)
    if not os.environ.get("UNIMQ_URL"):
        given = f"{context.info_name} takes two URLs, and one was given"
        msg = f"{given}: write the one to move from before it, or set UNIMQ_URL"
        raise click.UsageError(msg, context)
    return None, url


def duration(text: str) -> float:
    """Seconds, from a text such as 250ms, 30s or 5m."""
    try:
        return parse_duration(text)
    except ValueError as error:
        msg = f"{text!r} {error}"
        raise click.BadParameter(msg) from None


def count_option(default: int) -> Callable[[F], F]:
    """`--count`, for what shows messages."""
    kind = click.IntRange(1, 10_000)
    return click.option("--count", "-n", type=kind, default=default, show_default=True, help="How many at most.")


url_argument = click.argument("url", required=False, callback=_given)
queue_option = click.option("--queue", "-q", metavar="NAME", help="The queue, instead of the URL's.")
codec_option = click.option("--codec", type=click.Choice(_CODECS), help="The codec of bodies, instead of the URL's.")
raw_option = click.option("--raw", is_flag=True, help="Print control characters as they are, also on a terminal.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


def existing(url: str | None) -> unimq.URL:
    """The URL for a look or a removal: a typo in a path must not make a file, where the backend would."""
    parsed = unimq.URL.parse(url)
    _tell_what_stays_here(parsed)
    if _makes_files(parsed):
        return parsed.with_options(create=parsed.options.get("create", "false"))
    return parsed


@contextlib.contextmanager
def telling_what_is_made(url: str | None) -> Generator[None]:
    """Say that a put made a file, where the backend makes one: its name may have been a typo."""
    parsed = unimq.URL.parse(url)
    _tell_what_stays_here(parsed)
    is_new = _makes_files(parsed) and not Path(parsed.file_path).exists()
    yield
    if is_new:
        note(f"{parsed.file_path} was not there, and was made")


def _makes_files(url: unimq.URL) -> bool:
    return any(option.name == "create" for option in registry.driver(url.scheme).options)


def _tell_what_stays_here(url: unimq.URL) -> None:
    """A backend that needs no library, server or file is in this process."""
    driver = registry.driver(url.scheme)
    if driver.library is None and driver.port is None and driver.path_is_queue:
        note(f"{url} lives in this process only: it begins empty, and is gone when this command ends")


def harmless(url: "str | unimq.URL | None") -> unimq.URL:
    """The URL without what gives messages up that are only passed on, or looked at."""
    return unimq.URL.parse(url).with_options(invalid=None, max_deliveries=None)


def message_queue(url: "str | unimq.URL | None", name: str | None, codec: str | None) -> "unimq.Queue[Any]":
    """A queue whose bodies are shown to people or made by them.

    Nothing in it is given up by a look: not what this codec cannot decode, nor what was looked at too often.

    Raises:
        Unsupported: its codec is pickle: to look at a message would run what is in it.
    """
    queue: unimq.Queue[Any] = unimq.Queue(harmless(url), name=name, codec=codec)
    if queue.codec == "pickle":
        queue.close()
        msg = "codec=pickle: the command line does not unpickle; --codec raw shows the bytes"
        raise unimq.Unsupported(msg)
    return queue
