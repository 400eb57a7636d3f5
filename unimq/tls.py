"""TLS for drivers: its URL options, the same on every backend that has it, and the handshake within a deadline.

The certificate of the server is verified, and its name compared, unless the URL says `tls_insecure=true`.
"""

import math
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from unimq.errors import ConnectError, InvalidURL, Timeout
from unimq.options import Option
from unimq.url import URL

if TYPE_CHECKING:
    import ssl

__all__ = ["OPTIONS", "check", "context", "wrap"]

OPTIONS: Final = (
    Option("tls_ca", "text", None, "A file of certificates to trust (PEM), in place of the system's."),
    Option("tls_cert", "text", None, "A file with this client's certificate (PEM); its key too, without `tls_key`."),
    Option("tls_key", "text", None, "The file with the key of `tls_cert` (PEM), without a password."),
    Option("tls_insecure", "bool", default=False, doc="Do not verify who the server is: others may listen."),
)
"""For the table of a driver that speaks TLS."""

_NAMES: Final = frozenset(option.name for option in OPTIONS)


def check(url: URL, *, tls: bool) -> None:
    """Refuse the options above where the URL does not ask for TLS, and a key without a certificate.

    Raises:
        InvalidURL: as said.
    """
    given = sorted(_NAMES & set(url.options))
    if given and not tls:
        msg = f"{url}: {', '.join(given)} means something with TLS only: write {url.scheme}+ssl://"
        raise InvalidURL(msg)
    if "tls_key" in given and "tls_cert" not in given:
        msg = f"{url}: tls_key is the key of a certificate: give tls_cert as well"
        raise InvalidURL(msg)


def context(url: URL, values: Mapping[str, Any]) -> "ssl.SSLContext":
    """What to connect with, from the `values` of the options above.

    Raises:
        InvalidURL: a file cannot be read, or is not what it should be.
    """
    import ssl  # noqa: PLC0415 - 10 ms that only TLS needs

    try:
        made = ssl.create_default_context(cafile=values["tls_ca"])
        if values["tls_cert"] is not None:
            made.load_cert_chain(values["tls_cert"], values["tls_key"], password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(f"{name}={values[name]}" for name in ("tls_ca", "tls_cert", "tls_key") if values[name])
        msg = f"{url}: cannot use {files}: {error}"
        raise InvalidURL(msg) from error
    if values["tls_insecure"]:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _no_password() -> str:
    """OpenSSL would ask for one on the terminal, and wait."""
    msg = "the key has a password"
    raise ValueError(msg)


def wrap(connection: socket.socket, made: "ssl.SSLContext", url: URL, name: str, deadline: float) -> "ssl.SSLSocket":
    """The handshake on a connection to the server called `name`; the connection is closed where that fails.

    Raises:
        ConnectError: the server is not who it should be, refuses this client, or speaks no TLS.
        Timeout: it did not finish by `deadline`.
    """
    import ssl  # noqa: PLC0415 - as above

    left = deadline - time.monotonic()
    try:
        connection.settimeout(None if left == math.inf else max(left, 0.001))
        return made.wrap_socket(connection, server_hostname=name)
    except TimeoutError as error:
        connection.close()
        msg = f"{url}: no TLS handshake in time"
        raise Timeout(msg) from error
    except ssl.SSLCertVerificationError as error:
        connection.close()
        msg = f"{url}: the certificate of {name} is not trusted: {error.verify_message}; name its CA by tls_ca="
        raise ConnectError(msg) from error
    except OSError as error:
        connection.close()
        msg = f"{url}: no TLS with {name}: {error}"
        raise ConnectError(msg) from error
