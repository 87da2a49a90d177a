"""Heat maps: shares of places as a picture that lies exactly over the one that was sent."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from graftwork.preprocess.image import ImageSpec, decode_image, seen_box, upright_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_LEVELS: Final = 255
_LONGEST_SIDE: Final = 320
_LONGEST_SIDE_WITH_PICTURE: Final = 1024
# From nothing over yellow to red: red, green, blue and how much it covers. Seen on dark and on light pictures.
_COLOURS: Final = (
    (0.0, (255, 224, 102, 0)),
    (0.25, (255, 224, 102, 60)),
    (0.6, (255, 140, 40, 150)),
    (1.0, (214, 40, 57, 200)),
)


def heat_map(shares: NDArray[np.float32], data: bytes, spec: ImageSpec, *, max_pixels: int) -> bytes:
    """A PNG, transparent where nothing speaks for the answer, to be laid over the picture at any size.

    Args:
        shares: of the places of what the model saw, shape (rows, columns).
        data: the picture's file.
        spec: what pictures are brought to.
        max_pixels: larger pictures are refused.
    """
    size = upright_size(data, max_pixels=max_pixels)
    return _png(_overlay(shares, size, _scaled(size, _LONGEST_SIDE), spec))


def picture_with_heat_map(shares: NDArray[np.float32], data: bytes, spec: ImageSpec, *, max_pixels: int) -> bytes:
    """The picture under its heat map, as a PNG; arguments as of `heat_map`."""
    from PIL import Image

    size = upright_size(data, max_pixels=max_pixels)
    width, height = _scaled(size, _LONGEST_SIDE_WITH_PICTURE)
    picture = Image.fromarray(decode_image(data, ImageSpec(height=height, width=width), max_pixels=max_pixels))
    overlay = _overlay(shares, size, (width, height), spec).convert("RGBA")
    return _png(Image.alpha_composite(picture.convert("RGBA"), overlay).convert("RGB"))


def _overlay(
    shares: NDArray[np.float32], size: tuple[int, int], shown: tuple[int, int], spec: ImageSpec
) -> Image.Image:
    """What speaks for the answer in colours, (width, height) `shown`; `size` is the picture's."""
    from PIL import Image

    speaking = np.maximum(shares, 0)
    heat = Image.fromarray((speaking / max(float(speaking.max()), 1e-12)).astype(np.float32))
    # The shares cover `seen` of the picture, both from 0 to 1: part of it (cropped), all, or more than it (padded).
    left, top, right, bottom = seen_box(spec, size)
    part = (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
    place = tuple(round(edge * side) for edge, side in zip(part, (*shown, *shown), strict=True))
    columns, rows = heat.width / (right - left), heat.height / (bottom - top)
    box = ((part[0] - left) * columns, (part[1] - top) * rows, (part[2] - left) * columns, (part[3] - top) * rows)
    inner = (max(1, place[2] - place[0]), max(1, place[3] - place[1]))
    canvas = Image.new("F", shown)
    canvas.paste(heat.resize(inner, Image.Resampling.BICUBIC, box=box), (place[0], place[1]))
    levels = (np.asarray(canvas).clip(0, 1) * _LEVELS).round().astype(np.uint8)
    coloured = Image.frombytes("P", shown, levels.tobytes())
    coloured.putpalette(_palette().tobytes(), "RGBA")
    return coloured


def _palette() -> NDArray[np.uint8]:
    """Colour and cover of each level, shape (256, 4)."""
    levels = np.arange(_LEVELS + 1) / _LEVELS
    stops, colours = np.asarray([stop for stop, _ in _COLOURS]), np.asarray([colour for _, colour in _COLOURS])
    return np.stack([np.interp(levels, stops, channel) for channel in colours.T], axis=1).round().astype(np.uint8)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
