from __future__ import annotations

import socket
from pathlib import Path

import pytest

from graftwork.errors import SpecError
from graftwork.spec.inference_endpoint import GrpcListener
from graftwork_serving.ports import check_port, reserved_port


def test_a_taken_grpc_port_is_named_by_its_place_in_the_spec() -> None:
    """Before anything starts, with the field to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = GrpcListener(port=taken.getsockname()[1])
        with pytest.raises(SpecError, match=r"spec\.grpc\.port"):
            check_port(listener, at="spec.grpc", file=Path("e.yaml"))


def test_a_reserved_port_is_for_those_who_share_it() -> None:
    """Replicas may listen there; a process that does not share ports may not."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with reserved_port("127.0.0.1", port):
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.socket(socket.AF_INET6) as replica:  # as gRPC does
            replica.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            replica.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            replica.bind(("::ffff:127.0.0.1", port))
            replica.listen()
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_some_port_is_kept_for_who_shares_it() -> None:
    """Without a number, a free one, and each time another."""
    with reserved_port("127.0.0.1") as first, reserved_port("127.0.0.1") as second:
        assert first != second
        for port in (first, second):
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind(("127.0.0.1", port))
