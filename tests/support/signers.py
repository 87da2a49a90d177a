"""An issuer of tokens on loopback: signs, publishes its keys, exchanges them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


class Signer:
    """One key pair.

    Args:
        name: the key's `kid`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.private_key = ec.generate_private_key(ec.SECP256R1())

    def public(self) -> dict[str, Any]:
        """The public key as a JWK."""
        content = jwt.algorithms.ECAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        return {**content, "kid": self.name, "use": "sig", "alg": "ES256"}

    def token(self, issuer: str, **claims: Any) -> str:
        """A token of five minutes for `flowers`; None removes a claim."""
        content = {"iss": issuer, "aud": "flowers", "sub": "ann", "exp": int(time.time()) + 300, **claims}
        present = {name: value for name, value in content.items() if value is not None}
        return jwt.encode(present, self.private_key, "ES256", headers={"kid": self.name})


class Issuer:
    """What a provider publishes."""

    def __init__(self) -> None:
        self.signers: list[Signer] = [Signer("one")]
        self.fetches = 0
        self.is_down = False
        self.url = ""

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Discovery document and keys."""
        if self.is_down:
            return 503, {}
        match path:
            case "/.well-known/openid-configuration":
                return 200, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            case "/keys":
                self.fetches += 1
                return 200, {"keys": [signer.public() for signer in self.signers]}
            case _:
                return 404, {}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer that answers on loopback."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = issuer.answer(self.path)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
