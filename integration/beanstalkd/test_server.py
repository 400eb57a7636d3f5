"""The harness itself, on the smallest of the servers: what it promises about a server holds."""

import socket
from collections.abc import Callable

import pytest
from beanstalkd.recipes import PLAIN
from harness import Recipe, Running


def conversation(server: Running) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 5)
    connection.settimeout(5)
    return connection


def asked(connection: socket.socket) -> bytes:
    connection.sendall(b"use x\r\n")
    return connection.recv(100)


@pytest.fixture(scope="class")
def server(private: Callable[[Recipe], Running]) -> Running:
    """One server for all of them."""
    return private(PLAIN)


class TestHarness:
    """A server can be broken in every way, and mended."""

    def test_it_answers(self, server: Running) -> None:
        """A server that is given to a test is ready."""
        with conversation(server) as connection:
            assert asked(connection) == b"USING x\r\n"

    def test_killed_it_is_gone_and_started_it_is_back(self, server: Running) -> None:
        """On the same port; to kill what is down and to start what runs is harmless."""
        with conversation(server) as connection:
            server.kill()
            server.kill()
            assert connection.recv(1) == b""
        with pytest.raises(ConnectionError):
            conversation(server).close()
        server.start()
        server.start()
        self.test_it_answers(server)

    def test_paused_it_is_silent(self, server: Running) -> None:
        """And goes on with what it was asked."""
        with conversation(server) as connection:
            server.pause()
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                asked(connection)
            server.resume()
            connection.settimeout(5)
            assert connection.recv(100) == b"USING x\r\n"
        server.resume()

    def test_cut_connections_break_and_new_ones_work(self, server: Running) -> None:
        """Without a farewell."""
        with conversation(server) as connection:
            assert asked(connection) == b"USING x\r\n"
            server.cut()
            with pytest.raises(ConnectionError):
                asked(connection)
        self.test_it_answers(server)
