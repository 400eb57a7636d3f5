"""Connection URLs: read, written, masked. What is secret never shows, whatever is done with the value."""

import contextlib
import copy
import dataclasses
import logging
import pickle
import re
import string
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import InvalidURL
from unimq.url import MASK, URL, Host, is_secret

SECRET = "hunter2-correct-horse"

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True) | words
names |= st.sampled_from(["::1", "fe80::1%eth0"])
hosts = st.tuples(names, st.none() | st.integers(1, 65535)).map(lambda pair: Host(*pair))


@st.composite
def urls(draw: st.DrawFn) -> URL:
    options = draw(st.dictionaries(words | st.just("token"), texts, max_size=4))
    options.pop("password_file", None)
    return URL(
        draw(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)),
        transport=draw(st.none() | st.sampled_from(["ssl", "unix", "tcp"])),
        user=draw(st.none() | texts),
        password=draw(st.none() | texts),
        hosts=tuple(draw(st.lists(hosts, max_size=3))),
        path=draw(st.just("") | texts.map(lambda text: "/" + text)),
        options=options,
    )


@given(urls())
def test_what_is_written_is_read_again(url: URL) -> None:
    """reveal() and parse() are inverse, for every part; so are a pickle and its reading."""
    assert URL.parse(url.reveal(), environ={}) == url
    assert pickle.loads(pickle.dumps(url)) == url


@given(st.text(string.printable.strip(), min_size=12, max_size=40))
def test_a_password_of_any_printable_characters_works_and_never_shows(password: str) -> None:
    """In no text of the value."""
    url = URL("memory", user="ada", password=password, hosts=(Host("h"),))
    assert URL.parse(url.reveal(), environ={}).password == password
    for shown in (repr(url), str(url), f"{url}", f"{url!r:>80}", f"{url:>80}", str([url])):
        assert password not in shown
        assert url.reveal().partition("@")[0].partition(":")[2].removeprefix("//ada:") not in shown


def shown_by(value: object) -> str:
    """Everything that a careless program might print of a value."""
    slots = [getattr(value, name) for name in getattr(type(value), "__slots__", ())]
    return repr([value, slots, str(value), dir(value), getattr(value, "__dict__", None)])


PIECES = ["Zanzibar", "60417", "Xylophone", *string.punctuation, " ", "é"]
without_variables = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).filter(
    lambda pieces: not re.search(r"\$\{\w+\}", "".join(pieces))
)


@given(without_variables)
def test_a_password_that_is_not_encoded_works_or_is_refused_unseen(pieces: list[str]) -> None:
    """No piece of it shows, wherever its characters would have split the URL."""
    password = "".join(pieces)
    try:
        url = URL.parse(f"activemq://ada:{password}@broker/jobs?lease=5s", environ={})
    except InvalidURL as error:
        said = everything(error)
        assert "percent-encoded" in str(error) or "%24%7B" in str(error)
    else:
        said = shown_by(url) + everything(InvalidURL(f"{url}: no"))
        assert url.password == unquote(password)
        assert url.hosts == (Host("broker"),)
    assert not [piece for piece in ("Zanzibar", "60417", "Xylophone") if piece in said]


def test_an_at_sign_after_the_host_is_refused() -> None:
    """It may be the end of a password that has a '?', whose first half would be taken for a port."""
    for text in ("x://ada:60417?a=b@host/jobs", "x://ada:60417/a@host/jobs", "x://ada:p@60417?a=b@host/jobs"):
        with pytest.raises(InvalidURL, match="any other '@' is written %40") as caught:
            URL.parse(text)
        assert "60417" not in everything(caught.value)
    assert URL.parse("x://h/a%40b?c=d%40e").options["c"] == "d@e"


@pytest.mark.parametrize(
    "name", ["password", "key_password", "pass_phrase", "PASSCODE", "token", "auth_token", "client_secret", "api_key"]
)
def test_options_that_are_secret_by_their_name_are_masked(name: str) -> None:
    """In the URL's texts, and where its options are shown alone."""
    url = URL.parse(f"x://h?{name}={SECRET}&a=b")
    assert is_secret(name)
    assert str(url) == f"x://h?{name}=***&a=b"
    assert repr(url.options) == repr({name: "***", "a": "b"})
    assert url.options[name] == SECRET


@pytest.mark.parametrize("name", ["token_file", "queue", "compass", "passive", "key", "lease"])
def test_other_options_are_shown(name: str) -> None:
    """A part of a word makes no secret, and the name of a file is none."""
    assert not is_secret(name)
    assert str(URL.parse(f"x://h?{name}=seen")) == f"x://h?{name}=seen"


def test_a_url_within_a_url_is_masked() -> None:
    """It may have a password: only its scheme is shown."""
    dead = URL("activemq", user="ada", password=SECRET, hosts=(Host("h"),)).reveal()
    url = URL.parse("x://h/jobs").with_options(dead=dead, other=f"{SECRET} ://")
    assert str(url) == "x://h/jobs?dead=activemq://***&other=***"
    assert URL.parse(url.reveal()).options["dead"] == dead


def test_secrets_are_masked_wherever_a_value_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Attribute dumps, dataclass helpers and log lines included; secret options too."""
    url = URL.parse(f"memory://ada:{SECRET}@host/jobs?token={SECRET}&lease=5s")

    @dataclasses.dataclass
    class Holder:
        url: URL

    with caplog.at_level(logging.DEBUG):
        logging.getLogger("app").warning("connecting to %s (%r)", url, url)
    assert SECRET not in caplog.text + shown_by(url.options)
    for shown in (shown_by(url), repr(Holder(url)), repr(dataclasses.asdict(Holder(url))), caplog.text):
        assert SECRET not in shown
        assert "lease=5s" in shown
    assert str(url) == "memory://ada:***@host/jobs?token=***&lease=5s"
    assert (url.password, url.options["token"]) == (SECRET, SECRET)


def test_the_value_itself_travels_whole() -> None:
    """Pickled for a child process, and copied."""
    url = URL.parse(f"memory://ada:{SECRET}@h1:1,[::1]:2/jobs?a=b&token=t")
    for twin in (pickle.loads(pickle.dumps(url)), copy.copy(url), copy.deepcopy(url)):
        assert twin == url
        assert hash(twin) == hash(url)
        assert twin.password == SECRET
    assert url != URL.parse("memory://ada:other@h1:1,[::1]:2/jobs?a=b&token=t")
    assert url != "memory://"


def test_it_is_immutable() -> None:
    """Another one is made instead."""
    url = URL.parse("memory://host/jobs")
    for change in (lambda: setattr(url, "path", "/x"), lambda: delattr(url, "path"), lambda: setattr(url, "new", 1)):
        with pytest.raises(AttributeError, match="immutable"):
            change()
    with pytest.raises(TypeError):
        url.options["a"] = "b"  # type: ignore[index]
    assert len(url.options) == 0
    other = url.with_host(Host("h", 5)).with_credentials("ada", "pw").with_options(a="b", lease="5s").with_queue("q")
    assert other.reveal() == "memory://ada:pw@h:5/jobs?a=b&lease=5s&queue=q"
    assert (
        other.with_options(a=None, lease=None, queue=None).with_credentials(None, None).reveal() == "memory://h:5/jobs"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("memory://", ("memory", None, (), "")),
        ("BEANSTALKD+Unix:///run/b.sock", ("beanstalkd", "unix", (), "/run/b.sock")),
        ("sqlite:///jobs.db", ("sqlite", None, (), "/jobs.db")),
        ("sqlite:////var/jobs.db", ("sqlite", None, (), "//var/jobs.db")),
        ("gearman://h1,h2:4731,[::1],[fe80::1]:9/q", (
            "gearman", None, (Host("h1"), Host("h2", 4731), Host("::1"), Host("fe80::1", 9)), "/q",
        )),
        ("x://caf%C3%A9/a%2Fb%20c", ("x", None, (Host("café"),), "/a/b c")),
    ],
)  # fmt: skip
def test_its_parts_are_read(text: str, parts: tuple[Any, ...]) -> None:
    """Scheme and transport in lower case, hosts in order, the rest decoded."""
    url = URL.parse(text)
    assert (url.scheme, url.transport, url.hosts, url.path) == parts


def test_files_and_queues_are_told_apart() -> None:
    """By the path rule of sqlite, the path's short form, and `?queue=`, which works with every scheme."""
    assert URL.parse("sqlite:///rel/jobs.db").file_path == "rel/jobs.db"
    assert URL.parse("sqlite:////abs/jobs.db").file_path == "/abs/jobs.db"
    for text, path_is_queue, name in (
        ("beanstalkd://h/jobs", True, "jobs"),
        ("beanstalkd://h/jobs?queue=other", True, "other"),
        ("beanstalkd://h/", True, None),
        ("beanstalkd+unix:///run/b.sock", True, None),
        ("beanstalkd+unix:///run/b.sock?queue=jobs", True, "jobs"),
        ("memory:///jobs", True, "jobs"),
        ("sqlite:///jobs.db", False, None),
        ("sqlite:///jobs.db?queue=mail", False, "mail"),
    ):
        assert URL.parse(text).queue_name(path_is_queue=path_is_queue) == name


def test_variables_are_filled_in_after_splitting() -> None:
    """So that whatever they hold is never syntax."""
    environ = {"PW": "p@ss:w/o?r#d%41&x=,", "HOST": "h,1", "Q": "a/b?c", "U": "a:b"}
    url = URL.parse("x://${U}:${PW}@${HOST}:1/${Q}?queue=pre-${Q}-post", environ=environ)
    assert (url.user, url.password, url.hosts) == ("a:b", environ["PW"], (Host("h,1", 1),))
    assert (url.path, url.options["queue"]) == ("/a/b?c", "pre-a/b?c-post")
    with pytest.raises(InvalidURL, match="'NOPE', which is not set"):
        URL.parse("x://${NOPE}@h", environ={})
    assert URL.parse("x://$a:$b{c}@h", environ={}).password == "$b{c}"


@pytest.mark.parametrize("name", ["", "A b", "A-b", "1A", "A"])
def test_what_is_no_variable_is_refused_unseen(name: str) -> None:
    """A `${` that is not closed, or has no name in it, would otherwise be sent as it stands."""
    text = f"x://ada:{SECRET}${{{name}" + ("}" if name != "A" else "")
    with pytest.raises(InvalidURL, match="write %24%7B") as caught:
        URL.parse(f"{text}@h", environ={"A": "a"})
    assert SECRET not in everything(caught.value)
    assert "A" not in str(caught.value).replace("NAME", "")


@pytest.mark.parametrize("wrong", ["\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\ud800"])
def test_control_characters_are_refused_wherever_they_come_from(wrong: str, tmp_path: Path) -> None:
    """On a wire of text they would be lines of their own; a lone surrogate cannot be written at all."""
    bad = f"{SECRET}{wrong}x"
    file = tmp_path / "secret"
    file.write_text(bad, "utf-8", errors="surrogatepass", newline="")
    attempts: list[Callable[[], object]] = [
        lambda: URL.parse(f"x://ada:{bad}@h"),
        lambda: URL.parse(f"x://ada:{SECRET}{quote(wrong, errors='surrogatepass')}@h"),
        lambda: URL.parse("x://ada:${PW}@h", environ={"PW": bad}),
        lambda: URL.parse(f"x://ada@h?password_file={file}"),
        lambda: URL.parse("x://h").with_credentials("ada", bad),
        lambda: URL.parse("x://h").with_credentials(bad, None),
        lambda: URL.parse("x://h").with_options(a=bad),
        lambda: URL.parse("x://h").with_options(**{bad: "a"}),
        lambda: URL.parse("x://h").with_host(Host(bad)),
        lambda: URL("x", path=f"/{bad}"),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidURL) as caught:
            attempt()
        assert SECRET not in everything(caught.value)


def test_a_variable_that_ends_in_a_line_end_is_named() -> None:
    """Which is how a secret that was read from a file by a shell often looks."""
    with pytest.raises(InvalidURL, match="the password: the environment variable 'PW' has a control character"):
        URL.parse("x://ada:${PW}@h", environ={"PW": f"{SECRET}\n"})


def test_the_default_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`UNIMQ_URL`; unset or empty, the error says what to do."""
    monkeypatch.setenv("UNIMQ_URL", "memory://h/jobs")
    assert URL.parse() == URL.parse("memory://h/jobs")
    for environ in ({}, {"UNIMQ_URL": ""}):
        with pytest.raises(InvalidURL, match="UNIMQ_URL is not set: pass a URL"):
            URL.parse(environ=environ)


def test_a_url_is_taken_as_it_is() -> None:
    """Without parsing it again."""
    url = URL("memory", path="/${X}")
    assert URL.parse(url, environ={}) is url


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"scheme": "two words"}, "scheme"),
        ({"scheme": "x", "transport": "a/b"}, "scheme"),
        ({"scheme": "x", "path": "jobs"}, "begin with '/'"),
        ({"scheme": "x", "hosts": (Host(""),)}, "a host is empty"),
        ({"scheme": "x", "hosts": (Host("h", 0),)}, "1 to 65535"),
        ({"scheme": "x", "hosts": (Host("h", 65536),)}, "1 to 65535"),
        ({"scheme": "x", "options": {"": "a"}}, "name=value"),
    ],
)
def test_what_could_not_be_read_again_is_not_made(parts: dict[str, Any], said: str) -> None:
    """A URL that is put together keeps the rules of one that is read."""
    with pytest.raises(InvalidURL, match=said):
        URL(**parts)


def test_an_empty_user_is_none() -> None:
    """As in `x://:password@host`."""
    url = URL.parse("x://:pw@h")
    assert (url.user, url.password) == (None, "pw")
    assert url == URL("x", user="", password="pw", hosts=(Host("h"),))
    assert URL.parse("x://ada:@h").password == ""
    assert URL.parse("x://ada@h").password is None


def test_a_password_file_is_read_however_it_is_given(tmp_path: Path) -> None:
    """By a change of options too; the file is not looked at again."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    url = URL.parse("x://ada@h").with_options(password_file=str(file))
    file.unlink()
    assert (url.password, len(url.options)) == (SECRET, 0)
    assert pickle.loads(pickle.dumps(url)) == URL.parse(url.reveal()) == url
    with pytest.raises(InvalidURL, match="give one of them"):
        url.with_options(password_file=str(file))


def test_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """One line end is cut off; the option is used up."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    url = URL.parse(f"x://ada@h?password_file={file}&a=b")
    assert (url.password, dict(url.options)) == (SECRET, {"a": "b"})
    assert SECRET not in shown_by(url)
    with pytest.raises(InvalidURL, match="give one of them"):
        URL.parse(f"x://ada:pw@h?password_file={file}")
    with pytest.raises(InvalidURL, match="cannot be read: No such file"):
        URL.parse(f"x://ada@h?password_file={tmp_path}/none")
    file.write_bytes(b"\xff" + SECRET.encode())
    with pytest.raises(InvalidURL, match="cannot be read: UnicodeDecodeError") as caught:
        URL.parse(f"x://ada@h?password_file={file}")
    assert SECRET not in everything(caught.value)


MALFORMED = [
    ("no scheme", "must begin with a scheme"),
    ("jobs.db", "must begin with a scheme"),
    ("://host", "must begin with a scheme"),
    ("1x://host", "must begin with a scheme"),
    (f"x://ada:{SECRET}@h#frag", "fragment"),
    (f"x://ada:{SECRET}#1@h", "fragment"),
    (f"x://ada:{SECRET}@more@h", "more than one '@'"),
    (f"x://ada:{SECRET}/1@h", "more than one '@'|'/'"),
    (f"x://ada:{SECRET}:1@h", "':'"),
    (f"x://ada:{SECRET}?1@h", r"'\?' before it"),
    (f"x://ada:{SECRET}%zz@h", "percent-encoded|no escape"),
    (f"x://ada:{SECRET}%ff@h", "no UTF-8"),
    (f"x://ada:{SECRET}\n@h", "control character"),
    (f"x://ada:{SECRET}@", "host|"),
    (f"x://ada:{SECRET}/jobs", "1 to 65535; in a password"),
    (f"x://ada:{SECRET}@h:port", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:0", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:65536", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:1:2", "brackets"),
    (f"x://ada:{SECRET}@[::1", "brackets"),
    (f"x://ada:{SECRET}@[::1]x", "brackets"),
    (f"x://ada:{SECRET}@[host]:1", "brackets"),
    (f"x://ada:{SECRET}@h1,,h2", "host is empty"),
    (f"x://ada:{SECRET}@h?a=1&a=2", "given twice"),
    (f"x://ada:{SECRET}@h?alone", "name=value"),
    (f"x://ada:{SECRET}@h?=v", "name=value"),
    (f"x://{SECRET}:{SECRET}@{SECRET}:x", "number"),
    (f"x://h?token={SECRET}%zz", "escape"),
]


def everything(error: BaseException) -> str:
    """All that an error shows or carries, its pickle and its chain included."""
    chain = []
    one: BaseException | None = error
    while one is not None:
        chain.append(repr(one) + str(one) + repr(one.__dict__))
        one = one.__cause__ or one.__context__
    shown = "".join(line for line in traceback.format_exception(error) if "raises" not in line)
    return "".join(chain) + repr(pickle.dumps(error)) + shown


@pytest.mark.parametrize(("text", "said"), MALFORMED)
def test_what_is_malformed_is_explained_and_not_shown(text: str, said: str) -> None:
    """The error says how to write it, and nothing of it that may be secret."""
    try:
        url = URL.parse(text)
    except InvalidURL as error:
        assert re.search(said, str(error)), str(error)
        assert SECRET not in everything(error)
    else:
        assert text == f"x://ada:{SECRET}@"  # a user without a host: the driver decides
        assert url.hosts == ()


@given(st.text(st.characters(), max_size=60) | st.text("x:/@?#[]%=&,.+$" + "{}ab1", max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """Nothing else is raised, and what is a URL can be written and read again."""
    with contextlib.suppress(InvalidURL):
        url = URL.parse(text, environ={})
        assert URL.parse(url.reveal(), environ={}) == url
        assert MASK in repr(url) or not url.password


def test_what_is_no_text_is_refused() -> None:
    """With its type."""
    with pytest.raises(InvalidURL, match="is int"):
        URL.parse(7)  # type: ignore[arg-type]
