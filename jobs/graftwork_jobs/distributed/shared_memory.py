"""Sums over the workers of one machine, through memory that they share.

Between processes of one machine the ring of TensorFlow's collectives copies through gRPC and sockets, which takes
several times as long as adding does (`tests/benchmarks/bench_exchange.py`). Here everyone lays its values into one
piece of memory and adds up a part of all of them, or all if they are few, in the order of ranks. The memory has no
name: nothing is left of it when the processes end, however they do. A worker that is lost closes its socket, at which
the others raise an error.
"""

from __future__ import annotations

import mmap
import os
import socket
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_BYTES: Final = 16 * 1024**2
"""What each worker lays down at once."""
_SMALL_BYTES: Final = 64 * 1024
"""Up to here everyone adds up everything, and they meet once instead of twice."""
_SOCKET = "s"
_WORD = 4
# Longer than any socket's path may be.
_PATH_BYTES = 128


class _SumsArrays(Protocol):
    """What is there before the memory is."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def sum_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Add up over all workers."""
        ...


class SharedMemory:
    """Memory that the workers of one machine share, and a socket between each of them and rank 0.

    Args:
        rank: 0 .. world - 1.
        world: number of workers.
        memory: descriptor of a file with room for a chunk of every worker, for their sum, and twice for a few values of
            every worker.
        peers: rank 0's sockets to the others; the others' to rank 0.
    """

    def __init__(self, rank: int, world: int, memory: int, peers: Sequence[socket.socket]) -> None:
        self._rank = rank
        self._world = world
        self._peers = peers
        whole = np.frombuffer(mmap.mmap(memory, _size(world)), np.uint8)
        end = (world + 1) * _CHUNK_BYTES
        self._memory = whole[:end].reshape(world + 1, _CHUNK_BYTES)
        # Two, taken in turns: whoever lays values into one has met the others since these read what was in it.
        self._small = whole[end:].reshape(2, world, _SMALL_BYTES)
        self._turn = 0

    def sum(self, values: NDArray[Any], *, name: str, is_mean: bool = False) -> NDArray[Any]:
        """Add up an array over all workers, each of which must call it in the same order.

        Args:
            values: same shape and dtype on all workers.
            name: what is exchanged; the same on all workers.
            is_mean: whether to divide by the number of workers.

        Returns:
            The sum, in the array's shape; the same on all workers.

        Raises:
            ConnectionError: a worker is lost.
            RuntimeError: the others exchange something else.
        """
        flat = values.reshape(-1)
        tag = zlib.crc32(f"{name}/{values.dtype.name}/{values.shape}".encode())
        if flat.nbytes <= _SMALL_BYTES:
            return self._sum_small(flat, tag, is_mean=is_mean).reshape(values.shape)
        shares, total = self._memory.view(values.dtype), np.empty_like(flat)
        room = shares.shape[1]
        for start in range(0, flat.size, room):
            part = flat[start : start + room]
            shares[self._rank, : part.size] = part
            self._meet(tag)
            mine = slice(part.size * self._rank // self._world, part.size * (self._rank + 1) // self._world)
            self._add(shares[: self._world, mine], shares[self._world, mine], is_mean=is_mean)
            self._meet(tag)
            total[start : start + room] = shares[self._world, : part.size]
        return total.reshape(values.shape)

    def close(self) -> None:
        """Part from the others: those that wait for this worker get an error."""
        for peer in self._peers:
            peer.close()

    def _sum_small(self, flat: NDArray[Any], tag: int, *, is_mean: bool) -> NDArray[Any]:
        shares = self._small[self._turn].view(flat.dtype)[:, : flat.size]
        self._turn = 1 - self._turn
        shares[self._rank] = flat
        self._meet(tag)
        total = np.empty_like(flat)
        self._add(shares, total, is_mean=is_mean)
        return total

    def _add(self, shares: NDArray[Any], total: NDArray[Any], *, is_mean: bool) -> None:
        """Add up all workers' rows, in the order of ranks."""
        np.add(shares[0], shares[1], out=total)
        for other in shares[2:]:
            np.add(total, other, out=total)
        if is_mean:
            np.divide(total, self._world, out=total)

    def _meet(self, tag: int) -> None:
        """Wait until all workers are here. If one is not, nobody goes on waiting."""
        own = tag.to_bytes(_WORD, "little")
        try:
            if self._rank == 0:
                words = [_receive(peer) for peer in self._peers]
                for peer in self._peers:
                    peer.sendall(own)
            else:
                self._peers[0].sendall(own)
                words = [_receive(self._peers[0])]
        except OSError as error:
            self.close()
            raise ConnectionError("another worker of this machine is lost") from error
        if any(word != own for word in words):
            self.close()
            raise RuntimeError("the workers of this machine do not exchange the same thing: they took different turns")


def share_memory(workers: _SumsArrays) -> SharedMemory:
    """Let the workers of one machine meet. All of them call it.

    Args:
        workers: this worker among all, who are on this machine.

    Raises:
        OSError: there is no memory.
    """
    if workers.rank != 0:
        path = bytes(workers.sum_array(np.zeros(_PATH_BYTES, np.int32)).astype(np.uint8)).rstrip(b"\0")
        to_first = socket.socket(socket.AF_UNIX)
        to_first.connect(path)
        _, (memory,), _, _ = socket.recv_fds(to_first, _WORD, 1)
        return _opened(workers, memory, [to_first])
    memory = os.memfd_create("graft-sums")
    os.ftruncate(memory, _size(workers.world))
    with tempfile.TemporaryDirectory(prefix="graft-") as folder, socket.socket(socket.AF_UNIX) as door:
        path = os.fsencode(Path(folder) / _SOCKET)
        door.bind(path)
        door.listen(workers.world)
        workers.sum_array(np.frombuffer(path.ljust(_PATH_BYTES, b"\0"), np.uint8).astype(np.int32))
        peers = [door.accept()[0] for _ in range(1, workers.world)]
        for peer in peers:
            socket.send_fds(peer, [bytes(_WORD)], [memory])
    return _opened(workers, memory, peers)


def can_share_memory() -> bool:
    """Whether this system has memory without a name (Linux has)."""
    return hasattr(os, "memfd_create")


def _opened(workers: _SumsArrays, memory: int, peers: Sequence[socket.socket]) -> SharedMemory:
    try:
        return SharedMemory(workers.rank, workers.world, memory, peers)
    finally:
        os.close(memory)  # what is mapped stays


def _size(world: int) -> int:
    return (world + 1) * _CHUNK_BYTES + 2 * world * _SMALL_BYTES


def _receive(peer: socket.socket) -> bytes:
    word = peer.recv(_WORD, socket.MSG_WAITALL)
    if len(word) < _WORD:
        raise ConnectionResetError("the other end was closed")
    return word
