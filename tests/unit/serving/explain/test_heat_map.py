from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from graftwork.preprocess.image import ImageSpec, decode_image, seen_box
from graftwork_serving.explain.heat_map import heat_map, picture_with_heat_map


def png(size: tuple[int, int], colour: tuple[int, int, int] = (40, 90, 60), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, str(options.pop("format", "PNG")), **options)
    return stream.getvalue()


def cover(shares: np.ndarray, size: tuple[int, int], spec: ImageSpec) -> np.ndarray:
    """How much each pixel of the heat map covers, 0..255."""
    data = heat_map(shares, png(size), spec, max_pixels=10**6)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3]


def corner(at: tuple[int, int]) -> np.ndarray:
    shares = np.full((4, 4), -1.0, np.float32)
    shares[at] = 2.0
    return shares


def test_it_has_the_pictures_shape_and_is_warm_where_the_shares_are() -> None:
    """The whole picture is covered when it was stretched."""
    found = cover(corner((0, 3)), (300, 150), ImageSpec(height=8, width=8))
    assert found.shape == (150, 300)
    assert found[10, 290] > 150
    assert found[75:, :150].max() < 5


def test_what_was_cut_off_stays_clear() -> None:
    """Cropping sees the middle only: left and right thirds of a picture three times as wide."""
    found = cover(np.ones((4, 4), np.float32), (300, 100), ImageSpec(height=8, width=8, resize="crop"))
    assert found[:, :98].max() == 0
    assert found[:, 202:].max() == 0
    assert found[:, 105:195].min() > 150


def test_what_lies_in_the_borders_is_left_out() -> None:
    """Padding adds rows above and below; the map's middle rows cover the picture."""
    rows = np.zeros((4, 4), np.float32)
    rows[1:3] = 1.0
    rows[0] = 1.0  # a border
    found = cover(rows, (200, 100), ImageSpec(height=8, width=8, resize="pad"))
    assert found.shape == (100, 200)
    assert found.min() > 100


def test_a_picture_turned_by_its_camera_is_covered_upright() -> None:
    """As a browser shows it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png((200, 100), format="JPEG", exif=exif)
    found = Image.open(io.BytesIO(heat_map(corner((0, 0)), data, ImageSpec(height=8, width=8), max_pixels=10**6)))
    assert found.size == (100, 200)


def test_nothing_that_speaks_for_an_answer_is_a_clear_map() -> None:
    """Shares below zero warm nothing."""
    assert cover(np.full((3, 3), -1.0, np.float32), (30, 30), ImageSpec(height=8, width=8)).max() == 0


def test_the_picture_under_its_map_is_the_picture_where_nothing_speaks() -> None:
    """And differs where something does."""
    data, spec = png((64, 64)), ImageSpec(height=8, width=8)
    shown = Image.open(io.BytesIO(picture_with_heat_map(corner((0, 0)), data, spec, max_pixels=10**6)))
    pixels = np.asarray(shown)
    assert (shown.mode, shown.size) == ("RGB", (64, 64))
    assert tuple(pixels[60, 60]) == (40, 90, 60)
    assert int(pixels[4, 4, 0]) > 120


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_the_seen_box_is_what_decoding_does(resize: str) -> None:
    """A white spot at a known place of the picture lands in the model's input where the box says."""
    picture = Image.new("RGB", (400, 200))
    picture.paste((255, 255, 255), (230, 60, 250, 80))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    spec = ImageSpec(height=100, width=100, resize=resize)  # type: ignore[arg-type]  # parametrized
    seen = decode_image(stream.getvalue(), spec).mean(axis=2)
    rows, columns = np.nonzero(seen > 128)
    left, top, right, bottom = seen_box(spec, (400, 200))
    x, y = (240 / 400 - left) / (right - left), (70 / 200 - top) / (bottom - top)
    assert (columns.mean() + 0.5) / 100 == pytest.approx(x, abs=0.02)
    assert (rows.mean() + 0.5) / 100 == pytest.approx(y, abs=0.02)
