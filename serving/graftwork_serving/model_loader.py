"""Models of a replica: what it serves already is not loaded again, what it no longer serves is let go."""

from __future__ import annotations

from dataclasses import replace

from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.engine import EngineOptions
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel, load_model


class ModelLoader:
    """Loads models and remembers those in use.

    Args:
        threads: CPU threads of the replica.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._loaded: dict[tuple[str, EngineOptions, int], ServedModel] = {}

    def arms(self, config: ReplicaConfig) -> list[Arm]:
        """The arms of a configuration, loaded and with their golden examples replayed.

        Models that it does not name are let go: they end with the last request that uses them. If anything fails, what
        was loaded before is remembered as it was.

        Raises:
            SpecError: there is no bundle.
            BundleError: it was changed, or answers differently than in training.
        """
        options = EngineOptions(threads=self._threads, max_batch_size=config.max_batch_size)
        loaded: dict[tuple[str, EngineOptions, int], ServedModel] = {}
        arms = []
        for wanted in config.models:
            key = (wanted.digest, options, config.max_image_pixels)
            model = loaded.get(key) or self._loaded.get(key)
            if model is None:
                model = load_model(wanted, options, max_image_pixels=config.max_image_pixels)
            loaded[key] = model
            arms.append(_arm(wanted, model))
        self._loaded = loaded
        return arms


def _arm(config: ModelConfig, model: ServedModel) -> Arm:
    named = replace(model, name=config.name, version=config.version, alias=config.alias)
    return Arm(reference=config.reference, model=named, traffic=config.traffic, shadow=config.shadow)
