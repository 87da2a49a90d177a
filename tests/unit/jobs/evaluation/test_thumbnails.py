from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from graftwork_jobs.evaluation.thumbnails import thumbnail_uri
from tests.unit.jobs.evaluation.builders import picture


def _opened(uri: str | None) -> Image.Image:
    assert uri is not None
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize(
    ("width", "height", "size"), [(40, 20, (256, 128)), (500, 1000, (128, 256)), (9, 9, (256, 256))]
)
def test_the_aspect_ratio_is_kept(width: int, height: int, size: tuple[int, int]) -> None:
    """The longer side becomes 256 pixels, the other follows."""
    assert _opened(thumbnail_uri(picture(width, height))).size == size


def test_a_picture_stored_on_its_side_stands_upright() -> None:
    """EXIF orientation 6: the stored left (red) side is the top."""
    image = _opened(thumbnail_uri(picture(40, 20, orientation=6)))
    assert image.size == (128, 256)
    top, bottom = image.getpixel((64, 20)), image.getpixel((64, 236))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > top[2]
    assert bottom[2] > 200 > bottom[0]


@pytest.mark.parametrize("content", [b"", b"no picture", picture()[:60]])
def test_what_cannot_be_decoded_gives_none(content: bytes) -> None:
    """Empty, foreign and cut-off files have no thumbnail."""
    assert thumbnail_uri(content) is None
