"""The sessions that a holder has on its store: opened when they are needed, replaced when they broke."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from unimq import registry
from unimq.capabilities import Capabilities
from unimq.driver import Session
from unimq.errors import InvalidArgument, InvalidURL, UnimqError, Unsupported
from unimq.options import Settings, values
from unimq.outcomes import ends_session
from unimq.remote.frames import LARGEST_BODY
from unimq.remote.tokens import Named, Numbered, Tokens
from unimq.url import URL

__all__ = ["Store", "check_servable", "within_a_frame"]

R = TypeVar("R")

_BEAT_WITHIN: Final = 1.0
_SIZES: Final = 16
"""Distinct `?max_size=` of clients: each is a session of its own."""


class Store:
    """One store, by its URL."""

    def __init__(self, url: URL) -> None:
        """Open it.

        Raises:
            InvalidURL: the URL cannot be used, or names a store that cannot be served.
            ConnectError, AuthenticationFailed, StorageError, Timeout: it cannot be opened.
        """
        self.url = url
        self._driver = registry.driver(url.scheme)
        registry.require_library(self._driver)
        self._settings = Settings.read(url, self._driver.options)
        if len(url.hosts) > 1:
            msg = f"{url}: one host can be served, not {len(url.hosts)}; serve each at an address of its own"
            raise InvalidURL(msg)
        check_servable(self._driver.capabilities(url), str(url))
        self._sessions: dict[int | None, Session] = {}
        self._beaten: dict[int | None, float] = {}
        session = self._session(None)
        self.capabilities = within_a_frame(session.capabilities)
        self._watches = session.watch((), 0.0) is not None
        survives = self.capabilities.survives_server_restart == "yes"
        self.tokens: Tokens = Named(str(url) if survives else None)
        if session.settling != "any-session":
            self.tokens = Numbered()

    def use(self, call: Callable[[Session], R], max_size: int | None = None) -> R:
        """What `call` gives with a session; one that it broke is replaced by the next use."""
        session = self._session(max_size)
        try:
            return call(session)
        except BaseException as error:
            if ends_session(error):
                self.drop(max_size)
            raise

    def watching(self) -> Session | None:
        """Another session, to watch on; `None` where the store tells nobody when something is ready."""
        return self._open(self.url) if self._watches else None

    def beat(self, now: float) -> None:
        """Let each session that wants it tell its server that this side lives, when it is time."""
        for max_size, session in list(self._sessions.items()):
            every = session.beat_every
            if every is not None and now >= self._beaten.get(max_size, 0.0) + every:
                self._beaten[max_size] = now
                with contextlib.suppress(UnimqError):  # it is replaced by its next use, which tells what is wrong
                    self.use(lambda session: session.beat(now + _BEAT_WITHIN), max_size)

    def drop(self, max_size: int | None) -> None:
        """Close that session; what it held is lost to its holders."""
        session = self._sessions.pop(max_size, None)
        if session is not None:
            session.close()
        if max_size is None and isinstance(self.tokens, Numbered):
            self.tokens.clear()

    def close(self) -> None:
        """Close every session."""
        for max_size in list(self._sessions):
            self.drop(max_size)

    def _session(self, max_size: int | None) -> Session:
        found = self._sessions.get(max_size)
        if found is None:
            if len(self._sessions) > _SIZES:
                msg = f"max_size={max_size}: the clients of one holder may have {_SIZES} different ones"
                raise InvalidArgument(msg)
            url = self.url if max_size is None else self.url.with_options(max_size=str(max_size))
            found = self._sessions[max_size] = self._open(url)
        return found

    def _open(self, url: URL) -> Session:
        deadline = time.monotonic() + self._settings.connect_timeout
        return self._driver.open(url, deadline, options=values(url, self._driver.options))


def check_servable(capabilities: Capabilities, where: str) -> None:
    """Refuse a store that cannot keep at-least-once for clients of a holder.

    Raises:
        Unsupported: with the reason.
    """
    if capabilities.guarantee != "at-least-once":
        msg = f"{where} cannot be served: it is {capabilities.guarantee}, so what a client was sent and lost is gone"
        raise Unsupported(msg)
    if capabilities.lease_by == "connection":
        msg = f"{where} cannot be served: its leases end with the connection, and the holder's own does not end"
        raise Unsupported(msg)


def within_a_frame(capabilities: Capabilities) -> Capabilities:
    """With the limit of a body that a frame sets."""
    limits = capabilities.limits
    body = LARGEST_BODY if limits.body is None else min(limits.body, LARGEST_BODY)
    return replace(capabilities, limits=replace(limits, body=body))
