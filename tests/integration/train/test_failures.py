"""What cannot work ends with a sentence, soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.errors import PermanentError
from graftwork.progress import SilentReporter
from graftwork_jobs.events import read_events
from graftwork_jobs.train.launch import train
from tests.integration.train.small_jobs import SmallData, small_request

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def test_diverging_training_stops_and_says_where(small_data: SmallData, local_ray: Path, tmp_path: Path) -> None:
    """Phase, epoch and step are named; the good checkpoint stays; the workers are not restarted in vain."""
    phases = [
        {"name": "head", "epochs": 1, "learningRate": 0.01},
        {"name": "tune", "epochs": 4, "unfreeze": "all", "learningRate": 10.0},
    ]
    request = small_request(
        small_data,
        tmp_path / "diverging",
        workers=2,
        phases=phases,
        # Each step multiplies the weights by 1 - 10 * 0.99: no start and no data keeps them finite.
        training={"batchSize": 4, "optimizer": "adamw", "weightDecay": 0.99},
    )
    with pytest.raises(PermanentError, match=r"diverged in phase tune, epoch \d+.*learning rate of phase tune"):
        train(request, SilentReporter())
    starts = [event["phase"] for event in read_events(request.events_file) if event["kind"] == "phase_started"]
    assert starts == ["head", "tune"]
    assert list((request.checkpoints_dir / request.run_name).glob("checkpoint_2*"))
    assert not request.result_file.exists()


def test_a_changed_picture_is_named(small_data: SmallData, local_ray: Path, tmp_path: Path) -> None:
    """A picture replaced after the scan ends the run with its name, not with a result on other data."""
    picture = min((small_data.root / "pictures" / "train").glob("*.png"))
    content = picture.read_bytes()
    request = small_request(small_data, tmp_path / "changed")
    try:
        picture.write_bytes(content + b"changed")
        with pytest.raises(PermanentError, match=f"{picture.name}.*content has changed"):
            train(request, SilentReporter())
    finally:
        picture.write_bytes(content)
