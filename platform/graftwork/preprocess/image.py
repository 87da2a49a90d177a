"""From the bytes of a picture to the array a model takes; training and serving both call this, so they cannot differ.

Decoding and resizing only: how pixel values are scaled is part of the model itself. No Keras and no TensorFlow here.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from graftwork.errors import GraftworkError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

DEFAULT_MAX_PIXELS = 50_000_000
_EXIF_ORIENTATION = 0x0112
# EXIF 2.32, tag 0x0112: how the stored picture must be turned to stand upright (PIL.Image.Transpose by name).
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_ORIENTATIONS_THAT_SWAP_SIDES = frozenset({5, 6, 7, 8})
# A closed list: bytes come from strangers, and some of Pillow's other formats start programs (EPS) or nest files (ICO).
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_SIXTEEN_BIT_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_PILLOW_LIMIT = threading.Lock()

ResizeMode = Literal["stretch", "crop", "pad"]


class ImageError(GraftworkError):
    """Bytes that are no picture, or one that cannot be used. The text says what was wrong, not where."""


class ImageTooLargeError(ImageError):
    """A picture with more pixels than allowed."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What every picture is brought to.

    Attributes:
        height: pixels.
        width: pixels.
        resize: `stretch` ignores the aspect ratio, `crop` cuts the longer side evenly at both ends, `pad` adds black
            borders evenly.
    """

    height: int
    width: int
    resize: ResizeMode = "stretch"


def decode_image(data: bytes, spec: ImageSpec, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode and resize one picture.

    EXIF orientation is applied, transparency is laid on white, the first frame of an animation is taken, CMYK, grey,
    palette and 16-bit pictures become 8-bit RGB. Colour profiles are not applied.

    Args:
        data: the file's content: JPEG (MPO), PNG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000 or PNM.
        spec: what to bring it to.
        max_pixels: refuse larger pictures before decoding them (guards against decompression bombs).

    Returns:
        RGB pixels 0..255, shape (spec.height, spec.width, 3), uint8.

    Raises:
        ImageTooLargeError: the picture has more than `max_pixels` pixels.
        ImageError: the bytes cannot be decoded.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    image, orientation = _load(data, spec, max_pixels)
    try:
        image = _fit(_to_rgb(image), _stored_size(spec, orientation), spec.resize)
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"the picture cannot be converted to RGB ({error})") from error
    return np.asarray(_upright(image, orientation))


def upright_size(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a picture as it stands upright, without decoding it.

    Raises:
        ImageTooLargeError: the picture has more than `max_pixels` pixels.
        ImageError: the bytes are no picture.
    """
    image = _open(data, max_pixels)
    width, height = image.size
    return (height, width) if _orientation(image) in _ORIENTATIONS_THAT_SWAP_SIDES else (width, height)


def seen_box(spec: ImageSpec, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where what a model sees lies in a picture.

    Args:
        spec: what pictures are brought to.
        size: the picture's width and height, upright.

    Returns:
        Left, upper, right and lower edge as shares of the picture's width and height; with `pad` beyond 0 and 1.
    """
    width, height = size
    if spec.resize == "stretch":
        return (0.0, 0.0, 1.0, 1.0)
    pick = min if spec.resize == "crop" else max
    scale = pick(width / spec.width, height / spec.height)
    half_width, half_height = spec.width * scale / width / 2, spec.height * scale / height / 2
    return (0.5 - half_width, 0.5 - half_height, 0.5 + half_width, 0.5 + half_height)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """A picture whose header has been read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _pillow_limit_lifted():
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise ImageError("the bytes are no picture in a known format") from None
    except Exception as error:
        raise ImageError(f"the picture is damaged ({str(error) or type(error).__name__})") from error
    _check_size(image, max_pixels)
    return image


def _load(data: bytes, spec: ImageSpec, max_pixels: int) -> tuple[Image.Image, int]:
    """The decoded picture as stored, JPEGs perhaps at a smaller scale, and its EXIF orientation."""
    image = _open(data, max_pixels)
    try:
        if image.format == "PNG":
            _verify_png(data)
        orientation = _orientation(image)
        # JPEG only: decode at the smallest scale that still covers the target.
        image.draft("RGB", _stored_size(spec, orientation))
        image.load()
    except Exception as error:
        raise ImageError(f"the picture is damaged ({str(error) or type(error).__name__})") from error
    return image, orientation


def _check_size(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageTooLargeError(
            f"the picture has {image.width} x {image.height} = {pixels:,} pixels, at most {max_pixels:,} allowed"
        )


def _verify_png(data: bytes) -> None:
    """Check the checksums of a PNG, which decoding skips: damage that happens to inflate would pass as a picture."""
    from PIL import Image

    with _pillow_limit_lifted():
        image = Image.open(io.BytesIO(data), formats=("PNG",))
    image.verify()


@contextmanager
def _pillow_limit_lifted() -> Iterator[None]:
    """Keep Pillow's own limit on pixels out of `Image.open`: ours is an argument, checked right after.

    Pillow's limit is a global that warns from 89 and refuses from 179 megapixels, whatever the caller allows.
    """
    from PIL import Image

    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 (upright) where there is none or the EXIF block is damaged."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _stored_size(spec: ImageSpec, orientation: int) -> tuple[int, int]:
    """Target (width, height) before turning upright: turning the small result costs less than the large original."""
    return (spec.height, spec.width) if orientation in _ORIENTATIONS_THAT_SWAP_SIDES else (spec.width, spec.height)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    return image.transpose(Image.Transpose[_UPRIGHT[orientation]]) if orientation in _UPRIGHT else image


def _fit(image: Image.Image, target: tuple[int, int], resize: ResizeMode) -> Image.Image:
    from PIL import Image

    match resize:
        case "stretch":
            return image.resize(target, Image.Resampling.BILINEAR)
        case "crop":
            return image.resize(target, Image.Resampling.BILINEAR, box=_centre_box(image.size, target))
        case "pad":
            return _pad(image, target)


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its numbers are floating-point, of no known range; save it with 8 or 16 bits a channel")
    if image.mode in _SIXTEEN_BIT_GREY:
        # Pillow clips 16-bit grey to 255 on conversion; keep the high byte instead.
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _centre_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest centred box with the target's aspect ratio, as (left, upper, right, lower) in pixels."""
    width, height = size
    scale = min(width / target[0], height / target[1])
    box_width, box_height = target[0] * scale, target[1] * scale
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return (left, upper, min(left + box_width, width), min(upper + box_height, height))


def _pad(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    from PIL import Image

    scale = min(target[0] / image.width, target[1] / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", target)
    canvas.paste(
        image.resize(inner, Image.Resampling.BILINEAR), ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2)
    )
    return canvas
