"""A real, empty registry for every test; its database is made once, because that takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from graftwork.registry import Registry
from graftwork.settings import Settings


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = Settings.at(tmp_path_factory.mktemp("empty-registry"))
    assert Registry(settings).list_models() == ()
    return settings.home / "mlflow" / "mlflow.db"


@pytest.fixture
def registry(settings: Settings, empty_database: Path) -> Registry:
    (settings.home / "mlflow").mkdir(parents=True)
    shutil.copy(empty_database, settings.home / "mlflow" / "mlflow.db")
    return Registry(settings)
