"""Connection URLs: read, written, masked. What is secret never shows, whatever is done with the value."""

import contextlib
import copy
import dataclasses
import logging
import pickle
import re
import string
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimq.errors import InvalidURL
from unimq.url import URL, Host

SECRET = "hunter2-correct-horse"

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True) | st.just("::1") | st.just("fe80::1")
hosts = st.tuples(names, st.none() | st.integers(1, 65535)).map(lambda pair: Host(*pair))


@st.composite
def urls(draw: st.DrawFn) -> URL:
    options = draw(st.dictionaries(words, texts, max_size=4))
    options.pop("password_file", None)
    return URL(
        draw(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)),
        transport=draw(st.none() | st.sampled_from(["ssl", "unix", "tcp"])),
        user=draw(st.none() | texts) if (password := draw(st.none() | texts)) is None else draw(texts),
        password=password,
        hosts=tuple(draw(st.lists(hosts, max_size=3))),
        path=draw(st.just("") | texts.map(lambda text: "/" + text)),
        options=options,
    )


@given(urls())
def test_what_is_written_is_read_again(url: URL) -> None:
    """reveal() and parse() are inverse, for every part."""
    assert URL.parse(url.reveal(), environ={}) == url


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


def test_secrets_are_masked_wherever_a_value_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Attribute dumps, dataclass helpers and log lines included; secret options too."""
    url = URL.parse(f"memory://ada:{SECRET}@host/jobs?token={SECRET}&lease=5s")

    @dataclasses.dataclass
    class Holder:
        url: URL

    with caplog.at_level(logging.DEBUG):
        logging.getLogger("app").warning("connecting to %s (%r)", url, url)
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
    (f"x://ada:{SECRET}@h:port", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:0", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:65536", "number from 1 to 65535"),
    (f"x://ada:{SECRET}@h:1:2", "brackets"),
    (f"x://ada:{SECRET}@[::1", "brackets"),
    (f"x://ada:{SECRET}@[::1]x", "brackets"),
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


@given(st.text(max_size=60) | st.text("x:/@?#[]%=&,.+$" + "{}ab1", max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(InvalidURL):
        URL.parse(text, environ={})


def test_what_is_no_text_is_refused() -> None:
    """With its type."""
    with pytest.raises(InvalidURL, match="is int"):
        URL.parse(7)  # type: ignore[arg-type]
