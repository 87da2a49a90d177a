"""Running an endpoint in this process until it is told to stop: checks first, then Ray, replicas, and waiting."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graftwork.endpoint_state import (
    EndpointState,
    process_started_at,
    remove_state,
    running_endpoint,
    write_state,
)
from graftwork.errors import Problem, SpecError
from graftwork.progress import Reporter
from graftwork.settings import Settings
from graftwork.spec.endpoint_access import Access
from graftwork.spec.inference_endpoint import GrpcListener
from graftwork_serving.access.sources import local_access
from graftwork_serving.endpoint_config import ModelConfig
from graftwork_serving.follow import Follower, address, grpc_address, served_names
from graftwork_serving.jax_engine import check_engine
from graftwork_serving.ports import check_port, reserved_port
from graftwork_serving.precision import check_precision
from graftwork_serving.resolve import resolve_models
from graftwork_serving.spec_file import EndpointFile

_LOOK_PERIOD_S = 1.0
_NO_END = -1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check_place(loaded: EndpointFile, *, settings: Settings) -> None:
    """Find out whether an endpoint can start here, before anything does; models are another matter.

    Raises:
        SpecError: the endpoint runs already, its port is taken, the machine does not have what its engine or precision
            needs, or its keys cannot be read.
    """
    name = loaded.endpoint.metadata.name
    state = running_endpoint(settings.endpoints_dir, name)
    if state is not None:
        raise SpecError(
            Problem(
                file=str(loaded.file),
                where="metadata.name",
                received=f"{name!r}, which runs already at {state.url} (process {state.pid})",
                expected="the name of an endpoint that does not run yet",
                fix=f"Stop it with `graft endpoints stop {name}`, or let it follow the file with "
                f"`graft endpoints update {name}`.",
            )
        )
    spec = loaded.endpoint.spec
    check_port(spec.http, at="spec.http", file=loaded.file)
    if spec.grpc is not None:
        check_port(spec.grpc, at="spec.grpc", file=loaded.file)
    check_engine(spec.engine_name, spec.resources.gpus, file=loaded.file)
    check_precision(spec.precision, engine=spec.engine_name, on_gpu=spec.resources.gpus > 0, file=loaded.file)
    local_access(loaded.endpoint, base_dir=loaded.base_dir, file=loaded.file)


def serve_endpoint(
    loaded: EndpointFile,
    *,
    settings: Settings,
    reporter: Reporter,
    on_ready: Callable[[EndpointState], None],
    found: Callable[[], list[ModelConfig]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP makes the endpoint follow its file.

    Args:
        loaded: the spec.
        settings: where things are.
        reporter: takes what is slow.
        on_ready: called when requests are answered.
        found: gives the models where another process looks for them while Ray starts here; by default they are looked
            for before anything starts.

    Raises:
        SpecError: the endpoint cannot start; see `check_place` and `resolve_models`.
        BundleError: a bundle was changed.
        PermanentError: a replica could not start.
    """
    from graftwork_serving.local_cluster import start_cluster

    check_place(loaded, settings=settings)
    directory, name = settings.endpoints_dir, loaded.endpoint.metadata.name
    models = [] if found else resolve_models(loaded.endpoint, base_dir=loaded.base_dir, settings=settings)
    state = _state(loaded, models)
    write_state(directory, state)
    try:
        with (
            _grpc_port_kept(loaded.endpoint.spec.grpc),
            start_cluster(loaded.endpoint, log_dir=directory / f"{name}-logs", reporter=reporter) as cluster,
        ):
            if found:
                models = found()
                state = _state(loaded, models)
            follower = Follower(loaded, models, state, cluster=cluster, settings=settings, reporter=reporter)
            with reporter.task("Load models", None):
                follower.start()
            write_state(directory, follower.state)
            with _received_signals() as signals:
                on_ready(follower.state)
                while (received := next(signals)) in {signal.SIGHUP, None}:
                    before = follower.state
                    if received is None:
                        follower.look()
                    else:
                        follower.follow_file()
                    if follower.state != before:
                        write_state(directory, follower.state)
                reporter.say("Stopping; requests in progress are answered first.")
    finally:
        remove_state(directory, name, pid=os.getpid())


@contextmanager
def _grpc_port_kept(listener: GrpcListener | None) -> Iterator[None]:
    """Keep the port for the replicas, which listen on it later, and again when one of them is replaced."""
    if listener is None:
        yield
        return
    with reserved_port(listener.host, listener.port):
        yield


@contextmanager
def _received_signals() -> Iterator[Iterator[int | None]]:
    """The signals that arrive during the block, one by one, whichever thread the system hands them to.

    None when none has come for a while.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    handlers = {number: signal.signal(number, lambda _number, _frame: None) for number in _SIGNALS}
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        receiver.settimeout(_LOOK_PERIOD_S)
        yield iter(lambda: _next_signal(receiver), _NO_END)
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        receiver.close()
        sender.close()


def _next_signal(receiver: socket.socket) -> int | None:
    try:
        return receiver.recv(1)[0]
    except TimeoutError:
        return None


def _state(loaded: EndpointFile, models: list[ModelConfig]) -> EndpointState:
    pid = os.getpid()
    return EndpointState(
        name=loaded.endpoint.metadata.name,
        url=f"http://{address(loaded.endpoint.spec.http)}",
        grpc=grpc_address(loaded.endpoint),
        pid=pid,
        process_started_at=process_started_at(pid),
        spec_file=str(loaded.file.absolute()),
        models=served_names(models),
        takes_text=bool(models) and models[0].takes_text,
        asks_for_key=isinstance(loaded.endpoint.spec.auth, Access),
    )
