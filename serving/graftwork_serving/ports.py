"""Ports of this machine: whether one is free, and keeping one for those who will listen on it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graftwork.errors import Problem, SpecError
from graftwork.spec.inference_endpoint import GrpcListener, HttpListener


def check_port(listener: HttpListener | GrpcListener, *, at: str, file: Path) -> None:
    """Make sure that nothing listens there yet.

    Args:
        listener: where.
        at: its place in the spec.
        file: the spec.

    Raises:
        SpecError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise _wrong_listener(
            file, f"{at}.host", repr(listener.host), "an address of this machine", "Use 127.0.0.1."
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _wrong_listener(
                file,
                f"{at}.port",
                f"{listener.port}, which is in use on {listener.host}",
                "a free port",
                "Stop what listens there, or choose another port.",
            ) from error
        raise _wrong_listener(
            file,
            f"{at}.host",
            f"{listener.host!r} ({error.strerror})",
            "an address this user may listen on",
            "Use 127.0.0.1.",
        ) from error


@contextmanager
def reserved_port(host: str, port: int = 0) -> Iterator[int]:
    """Keep a port for processes of this user that share it, inside the block; gives its number.

    A socket that is bound and does not listen gets no connections. Without it, any process that asks the system for
    some free port could be given this one before they listen.

    Args:
        host: the address.
        port: the port; 0 for one that is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
        number: int = holder.getsockname()[1]
        yield number


def _wrong_listener(file: Path, where: str, received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(file=str(file), where=where, received=received, expected=expected, fix=fix))
