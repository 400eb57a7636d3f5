"""What is secret stays so in the corners: files, frames, names, half-made objects."""

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unimq
from unimq.credentials import with_credentials

SECRET = "hunter2-71"


@pytest.mark.parametrize(
    "name",
    [
        "authToken",
        "api-key",
        "client-secret",
        "jwt",
        "accessKey",
        "bearer",
        "AUTHTOKEN",
        "clientsecret",
        "psk",
        "sig",
        "dsn",
        "session-cookie",
    ],
)
def test_secret_names_in_other_spellings_are_masked(name: str) -> None:
    """With capitals or dashes between their words."""
    assert str(unimq.URL.parse(f"x://h?{name}={SECRET}")) == f"x://h?{name}=***"


def test_a_password_file_is_a_regular_file_of_some_size(tmp_path: Path) -> None:
    """A device or a pipe may have no end; what is large is no password."""
    large, pipe = tmp_path / "large", tmp_path / "pipe"
    large.write_text("x" * 100_000)
    os.mkfifo(pipe)
    for file, why in ((Path("/dev/zero"), "no regular file"), (pipe, "no regular file"), (large, "more than 65536")):
        with pytest.raises(unimq.InvalidURL, match=why):
            unimq.URL.parse(f"x://ada@h?password_file={file}")


def test_a_password_given_as_its_file_is_not_shown() -> None:
    """A mistake that is easily made; a path in a directory that exists is shown."""
    with pytest.raises(unimq.InvalidURL, match=r"password_file=\*\*\* cannot be read") as caught:
        unimq.URL.parse(f"x://ada@h?password_file={SECRET}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_longest_password_of_a_file_is_taken_and_a_longer_one_is_not(tmp_path: Path) -> None:
    """The line end at its end is not counted."""
    file = tmp_path / "secret"
    for end in ("", "\n"):
        file.write_text("ü" * 65536 + end, "utf-8")
        assert unimq.URL.parse(f"x://ada@h?password_file={file}").password == "ü" * 65536
    file.write_text("x" * 65537)
    with pytest.raises(unimq.InvalidURL, match="it has more than 65536 characters"):
        unimq.URL.parse(f"x://ada@h?password_file={file}")


def test_a_password_file_that_is_not_there_is_named_where_its_directory_is(tmp_path: Path) -> None:
    """What is in no directory may be the password itself, and so may a text with a NUL."""
    with pytest.raises(unimq.InvalidURL) as caught:
        unimq.URL("x", options={"password_file": f"{tmp_path}/none"})
    assert (
        str(caught.value) == f"x://***: password_file={f'{tmp_path}/none'!r} cannot be read: No such file or directory"
    )
    for wrong in (f"{tmp_path}/no/{SECRET}", f"{tmp_path}/\0{SECRET}"):
        with pytest.raises(unimq.InvalidURL, match=r"^x://\*\*\*: password_file=\*\*\* cannot be read: ") as caught:
            unimq.URL("x", options={"password_file": wrong})
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_no_frame_has_the_text_of_a_url_that_was_refused() -> None:
    """Tools that report errors show the local variables of each frame; only the caller's own has it."""
    made = [f"x://ada:{SECRET}@h:0/", f"x://ada:{SECRET}@h/%zz", f"x://ada:{SECRET}@@h"]
    for number in range(len(made)):
        with pytest.raises(unimq.InvalidURL) as caught:
            unimq.URL.parse(made[number])
        trace = caught.value.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                assert SECRET not in repr(trace.tb_frame.f_locals)
            trace = trace.tb_next


@pytest.mark.parametrize("text", [SECRET, f"1x://{SECRET}", f"://{SECRET}", f"{SECRET}/%://x"])
def test_what_has_no_scheme_is_shown_as_nothing(text: str) -> None:
    """Its first word may be a password that was put in the wrong place."""
    with pytest.raises(
        unimq.InvalidURL, match="^the connection URL: it must begin with a scheme and '://', as in sqlite:///"
    ):
        unimq.URL.parse(text)


def test_of_a_url_that_is_refused_only_the_scheme_is_shown() -> None:
    """In lower case, as it is compared."""
    with pytest.raises(unimq.InvalidURL, match=r"^act\+ssl://\*\*\*: the option 'a' is given twice$"):
        unimq.URL.parse(f"Act+SSL://ada:{SECRET}@h?a=1&a=2&b=://")


@pytest.mark.parametrize("make", [unimq.Queue, unimq.AsyncQueue, unimq.Client, unimq.AsyncClient, unimq.connect])
@pytest.mark.parametrize(
    "rest",
    [
        "@",
        "?nosuch=1",
        "?lease=soon",
        "?require=fifo",
        f"?dead=x://ada:{SECRET}%40h",
        f"?codec=x://{SECRET}",
        f"?journal=x://ada:{SECRET}%40h",
        f"?require=x://ada:{SECRET}%40h",
    ],
)
def test_no_frame_of_a_constructor_has_the_text_of_a_url(make: Callable[[str], object], rest: str) -> None:
    """Whatever is wrong with it, and whoever is asked."""
    urls = [f"memcacheq://ada:{SECRET}@h/jobs{rest}"]
    with pytest.raises(unimq.UnimqError) as caught:
        make(urls[0])
    check_frames(caught.value)


@pytest.mark.parametrize("make", [unimq.Queue, unimq.AsyncQueue, unimq.Client, unimq.AsyncClient, unimq.connect])
def test_no_frame_has_the_text_of_a_url_that_lacks_what_is_required(make: Callable[[str], object]) -> None:
    """That is no mistake in the URL, and ends the same way."""
    urls = [f"activemq://ada:{SECRET}@h/jobs?require=outbox"]
    with pytest.raises(unimq.Unsupported) as caught:
        make(urls[0])
    check_frames(caught.value)


def check_frames(error: BaseException | None) -> None:
    """Hold that no frame of it and of what it came from has the secret, but those of this file."""
    while error is not None:
        assert SECRET not in repr(error.args)
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                assert SECRET not in repr(trace.tb_frame.f_locals)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "make",
    [
        lambda: unimq.URL("x", password=f"{SECRET}\0"),
        lambda: unimq.URL("x", password=SECRET, options={"password_file": "/none"}),
        lambda: unimq.URL("x", options={"token": f"{SECRET}\0"}),
        lambda: unimq.URL("x").with_credentials("ada", f"{SECRET}\n"),
        lambda: unimq.URL("x").with_options(token=f"{SECRET}\0"),
        lambda: with_credentials(unimq.URL("x"), lambda: (SECRET,)),  # type: ignore[arg-type, return-value]
    ],
)
def test_no_frame_has_a_secret_that_was_refused(make: Callable[[], object]) -> None:
    """Where a URL is put together, or the credentials of a connection."""
    with pytest.raises((unimq.InvalidURL, unimq.InvalidArgument)) as caught:
        make()
    check_frames(caught.value)


def test_a_requirement_that_is_a_url_shows_no_password() -> None:
    """In the URL, and as an argument."""
    wrong = f"http://ada:{SECRET}@example.org"
    given: dict[str, Any]
    for given in ({"require": {wrong}}, {"codec": wrong}):
        with pytest.raises(unimq.InvalidArgument, match=r"'?http://\*\*\*") as caught:
            unimq.Queue("memory:///jobs", **given)
        assert SECRET not in str(caught.value)


def test_a_queue_whose_name_is_a_url_shows_no_password() -> None:
    """Whatever it is for."""
    with unimq.Queue("memory://", name=f"http://ada:{SECRET}@example.org/feed") as queue:
        assert repr(queue) == "<Queue 'http://***' of memory://>"
        with pytest.raises(unimq.Empty, match=r"no message on http://\*\*\* of") as caught:
            queue.get(timeout=0)
        assert SECRET not in str(caught.value)
        queue.put("x")
        with queue.get(timeout=1) as message:
            assert SECRET not in repr(message)
    with pytest.raises(unimq.Closed, match=r"queue 'http://\*\*\*' of") as closed:
        queue.put("x")
    assert SECRET not in str(closed.value)
    with pytest.raises(unimq.InvalidName) as refused:
        unimq.Queue("memory://?profile=beanstalkd", name=f"http://ada:{SECRET}@example.org/feed")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "kind",
    [unimq.Queue, unimq.AsyncQueue, unimq.Client, unimq.AsyncClient, unimq.URL, unimq.Message, unimq.AsyncMessage],
)
def test_what_is_half_made_can_be_shown(kind: type) -> None:
    """A traceback that captures local variables must not fail by it."""
    assert "not made" in repr(kind.__new__(kind))


def test_a_queue_says_why_it_is_not_pickled() -> None:
    """And what is given to another process instead; so do a client and a message."""
    with unimq.Queue("memory:///jobs") as queue:
        queue.put(1)
        for one in (queue, queue.client, queue.dead, unimq.AsyncClient("memory://")):
            with pytest.raises(TypeError, match="has connections: give .* its URL"):
                pickle.dumps(one)
        with pytest.raises(TypeError, match="is settled on its connection: give .* its body"):
            pickle.dumps(queue.get(timeout=0))


@pytest.mark.parametrize("given", [None, ("ada",), ("ada", b"x"), f"ada:{SECRET}", ("ada", SECRET, 1)])
def test_credentials_of_another_shape_are_refused(given: object) -> None:
    """Without showing them."""
    with (
        unimq.Queue("memory:///jobs", credentials=lambda: given) as queue,  # type: ignore[arg-type,return-value]
        pytest.raises(unimq.InvalidArgument, match="a tuple of user and password") as caught,
    ):
        queue.put(1)
    assert SECRET not in str(caught.value)
