"""Models that a replica loads when they are asked for, and lets go when memory is short. Each replica for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from graftwork.errors import GraftworkError, RequestError
from graftwork.near_names import did_you_mean
from graftwork_serving.access.callers import CALLER
from graftwork_serving.trunks import TrunkedEngine

if TYPE_CHECKING:
    from graftwork_serving.endpoint_config import ModelConfig, RepositoryConfig
    from graftwork_serving.routing import Arm
    from graftwork_serving.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
# What a model takes beside its weights: labels, golden examples' names, Python objects.
_MODEL_BYTES: Final = 256 * 1024
# A network is compiled up to three times: for one example alone, for several side by side, for batches.
_ENGINE_COPIES: Final = 3


class ModelRepository:
    """The models that may be loaded, and those that are; used on the replica's event loop.

    Args:
        load: loads a model; called in a thread.
        show: called when what is loaded has changed.
    """

    def __init__(self, load: Callable[[ModelConfig], Arm], show: Callable[[], None]) -> None:
        self._load = load
        self._show = show
        self._offered: dict[str, ModelConfig] = {}
        self._budget_bytes = 0
        # The one asked for last stands last.
        self._loaded: dict[str, Arm] = {}
        self._changing = asyncio.Lock()
        self._loading: dict[str, asyncio.Task[None]] = {}

    @property
    def arms(self) -> list[Arm]:
        """What is loaded."""
        return list(self._loaded.values())

    @property
    def names(self) -> tuple[str, ...]:
        """What may be loaded."""
        return tuple(self._offered)

    async def follow(self, config: RepositoryConfig | None, taken: Sequence[str]) -> None:
        """Offer what a configuration says; load anew what has another version now, let go what is not offered any more.

        Args:
            config: what may be loaded; None for nothing.
            taken: names that the endpoint's spec serves anyway.
        """
        offered = {} if config is None else {model.name: model for model in config.models if model.name not in taken}
        async with self._changing:
            self._budget_bytes = 0 if config is None else config.memory_bytes
            for name, arm in list(self._loaded.items()):
                wanted = offered.get(name)
                if wanted is None:
                    del self._loaded[name]
                elif wanted.digest != self._offered[name].digest:
                    try:
                        self._loaded[name] = await asyncio.to_thread(self._load, wanted)
                    except GraftworkError as error:
                        _LOGGER.warning("Model %s stays at version %s: %s", name, arm.model.version, error)
                        offered[name] = self._offered[name]
            self._offered = offered
            self._make_room()

    async def ensure(self, name: str) -> None:
        """Make sure that a model is loaded; all who ask for it meanwhile wait for one and the same loading.

        Raises:
            RequestError: it is not offered (404), cannot be loaded, or is larger than the budget (409).
        """
        if name in self._loaded:
            self._touch(name)
            return
        if name not in self._offered:
            raise self._unknown(name)
        loading = self._loading.get(name)
        if loading is None:
            loading = self._loading[name] = asyncio.create_task(self._load_offered(name))
            loading.add_done_callback(lambda done: self._over(name, done))
        # Whoever gives up waiting does not end it for the others.
        await asyncio.shield(loading)

    async def _load_offered(self, name: str) -> None:
        async with self._changing:
            config = self._offered.get(name)
            if config is None:
                raise self._unknown(name)
            try:
                arm = await asyncio.to_thread(self._load, config)
            except GraftworkError as error:
                _LOGGER.warning("Model %s cannot be loaded: %s", name, error)
                raise RequestError(409, f"Model {name!r} cannot be loaded; the endpoint's log says why.") from error
            size = used_bytes([arm.model])
            if size > self._budget_bytes:
                raise RequestError(
                    409,
                    f"Model {name!r} takes {size:,} bytes, and spec.repository.memory is {self._budget_bytes:,}. "
                    "Raise it.",
                )
            self._loaded[name] = arm
            self._make_room()
            self._show()

    def _over(self, name: str, loading: asyncio.Task[None]) -> None:
        del self._loading[name]
        if not loading.cancelled():
            loading.exception()  # told to whoever waits; nobody may

    async def unload(self, name: str) -> None:
        """Let a model go; requests in progress finish, and the next one loads it again.

        Raises:
            RequestError: it is not offered (404).
        """
        async with self._changing:
            if name not in self._offered:
                raise self._unknown(name)
            if self._loaded.pop(name, None) is not None:
                self._show()

    def index(self, *, ready_only: bool) -> list[dict[str, Any]]:
        """Offered models as the protocol's repository index lists them."""
        rows = []
        for name, config in self._offered.items():
            arm = self._loaded.get(name)
            if arm is not None:
                rows.append({"name": name, "version": arm.model.version, "state": "READY", "reason": ""})
            elif not ready_only:
                row = {"name": name, "version": config.version, "state": "UNAVAILABLE", "reason": "loads when asked"}
                rows.append(row)
        return rows

    def _touch(self, name: str) -> None:
        self._loaded[name] = self._loaded.pop(name)

    def _make_room(self) -> None:
        for name in to_let_go({name: arm.model for name, arm in self._loaded.items()}, self._budget_bytes):
            del self._loaded[name]

    def _unknown(self, name: str) -> RequestError:
        known = [each for each in self._offered if CALLER.get().sees(each)]
        hint = did_you_mean(name, known) or "The repository's index (POST /v2/repository/index) lists those."
        return RequestError(404, f"There is no model {name[:80]!r} that this endpoint may load. {hint}")


def used_bytes(models: Sequence[ServedModel]) -> int:
    """About how much memory some models take; a trunk that several share counts once."""
    trunks = {id(model.engine.trunk): model.engine.trunk for model in models if isinstance(model.engine, TrunkedEngine)}
    shared = sum(trunk.weight_bytes for trunk in trunks.values())
    whole = sum(model.weight_bytes for model in models if not isinstance(model.engine, TrunkedEngine))
    heads = sum(model.weight_bytes for model in models if isinstance(model.engine, TrunkedEngine))
    return _ENGINE_COPIES * (shared + whole) + heads + _MODEL_BYTES * len(models)


def to_let_go(models: Mapping[str, ServedModel], budget_bytes: int) -> list[str]:
    """Which models have to go, so that the rest fits: those asked for longest ago.

    Args:
        models: by name; the one asked for last stands last.
        budget_bytes: what the rest may take.
    """
    kept = dict(models)
    gone: list[str] = []
    while len(kept) > 1 and used_bytes(list(kept.values())) > budget_bytes:
        name = next(iter(kept))
        del kept[name]
        gone.append(name)
    return gone
