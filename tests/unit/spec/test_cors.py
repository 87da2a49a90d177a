from __future__ import annotations

from graftwork.spec.cors import Cors


def test_origins_are_as_browsers_send_them() -> None:
    """Which leave out the port that the scheme has anyway."""
    given = ["https://a.example:443", "http://b.example:80", "https://c.example:8443", "http://[::1]:443", "*"]
    assert Cors(allowed_origins=given).origins == [
        "https://a.example",
        "http://b.example",
        "https://c.example:8443",
        "http://[::1]:443",
        "*",
    ]
