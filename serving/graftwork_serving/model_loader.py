"""Models of a replica: what it serves already is not loaded again, what it no longer serves is let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graftwork.bundle.manifest import MANIFEST_FILE
from graftwork.settings import Settings
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.engine import EngineOptions
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel, load_model
from graftwork_serving.trunks import SharedParts


class ModelLoader:
    """Loads models and remembers those in use.

    Args:
        threads: CPU threads of the replica.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._shared = SharedParts()
        self._loaded: dict[tuple[str, EngineOptions, int], ServedModel] = {}

    def arms(self, models: Sequence[ModelConfig], config: ReplicaConfig) -> list[Arm]:
        """Arms that serve some models, loaded and with their golden examples replayed.

        Args:
            models: what to load.
            config: how.

        Raises:
            SpecError: there is no bundle, or this machine does not have what the engine or the precision needs.
            BundleError: it was changed, or answers differently than in training.
        """
        options = EngineOptions(
            threads=self._threads,
            max_batch_size=config.max_batch_size,
            precision=config.precision,
            engine=config.engine,
            on_gpu=config.on_gpu,
        )
        arms = []
        for wanted in models:
            key = (wanted.digest, options, config.max_image_pixels)
            if key not in self._loaded:
                self._loaded[key] = load_model(
                    wanted, options, max_image_pixels=config.max_image_pixels, shared=self._shared
                )
            arms.append(_arm(wanted, self._loaded[key]))
        return arms

    def keep(self, models: Sequence[ServedModel]) -> None:
        """Let all other models go: they end with the last request that uses them."""
        engines = {id(model.engine) for model in models}
        self._loaded = {key: model for key, model in self._loaded.items() if id(model.engine) in engines}


def located(model: ModelConfig, settings: Settings) -> ModelConfig:
    """A model with its bundle on this machine, fetched if need be.

    Raises:
        SpecError: the registry does not have it any more.
        BundleError: the bundle is damaged.
    """
    if (Path(model.path) / MANIFEST_FILE).is_file():
        return model
    from graftwork.registry import Registry

    return model.model_copy(update={"path": str(Registry(settings).resolve(model.source).path)})


def _arm(config: ModelConfig, model: ServedModel) -> Arm:
    named = replace(model, name=config.name, version=config.version, alias=config.alias)
    return Arm(reference=config.reference, model=named, traffic=config.traffic, shadow=config.shadow)
