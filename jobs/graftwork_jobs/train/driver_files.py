"""Files on the driver's machine, from workers wherever they run: on that machine directly, elsewhere by way of Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from graftwork.whole_file import replacing
from graftwork_jobs.events import append_event

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class DriverFiles:
    """Reads and writes files on the machine of the driver.

    Attributes:
        node_id: Ray's name of that machine; `this_node()` of the driver.
    """

    node_id: str

    def append_event(self, path: Path, kind: str, **fields: Any) -> None:
        """As `graftwork_jobs.events.append_event`; when it returns, the event is there."""
        self._there(_append_event, path, kind, fields)

    def read(self, path: Path) -> bytes:
        """Content of a file."""
        return self._there(Path.read_bytes, path)

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As `graftwork.whole_file.replacing`; the file the block writes is on this machine."""
        if self._is_here():
            with replacing(path) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="graft-") as folder:
            written = Path(folder) / path.name
            yield written
            self._there(_write, path, written.read_bytes())

    def _is_here(self) -> bool:
        return this_node() == self.node_id

    def _there(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        if self._is_here():
            return function(*arguments)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_driver = NodeAffinitySchedulingStrategy(self.node_id, soft=False)
        task = ray.remote(function).options(num_cpus=0, scheduling_strategy=on_driver)
        result: _Result = ray.get(task.remote(*arguments))
        return result


def this_node() -> str:
    """Ray's name of the machine this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _append_event(path: Path, kind: str, fields: dict[str, Any]) -> None:
    append_event(path, kind, **fields)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
