"""One home, one set of pictures and one undisturbed run for all tests in here: starting Ray costs seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.jobs.graft_home import Ended, GraftHome
from tests.integration.jobs.tiny_jobs import SIDE, write_job, write_pictures
from tests.integration.train.small_jobs import save_small_backbone


@pytest.fixture(scope="session")
def graft_home(tmp_path_factory: pytest.TempPathFactory) -> GraftHome:
    """A fresh home, and a folder with pictures and a backbone."""
    root = tmp_path_factory.mktemp("jobs")
    (root / "work").mkdir()
    write_pictures(root / "work" / "pictures")
    save_small_backbone(root / "work" / "tiny.keras", side=SIDE)
    return GraftHome(home=root / "home", work=root / "work")


@pytest.fixture(scope="session")
def undisturbed(graft_home: GraftHome) -> Ended:
    """`graft run -o json` of the job `calm`, in peace; it registers version 1 of `tiny`."""
    ended = graft_home.graft("run", write_job(graft_home.work, "calm"), "-o", "json")
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def spec_folder(graft_home: GraftHome) -> Path:
    """Where job specs are written."""
    return graft_home.work
