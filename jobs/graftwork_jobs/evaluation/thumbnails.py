"""Small pictures for the report, as data URIs. Decoding is the one that training and serving use."""

from __future__ import annotations

import base64
import io

from graftwork.preprocess.image import ImageError, ImageSpec, decode_image

# Twice the size it is shown at, for screens with two device pixels a point.
_LONGER_SIDE = 256
_JPEG_QUALITY = 85
# EXIF 2.32, tag Orientation: the values with which the stored picture lies on its side.
_LYING = frozenset({5, 6, 7, 8})


def thumbnail_uri(picture: bytes) -> str | None:
    """Scale a picture down, its aspect ratio kept.

    Args:
        picture: the file's content.

    Returns:
        A `data:image/jpeg` URI, or None when the picture cannot be decoded (any more).
    """
    from PIL import Image

    try:
        pixels = decode_image(picture, _fitting(picture))
    except (ImageError, OSError):
        return None
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=_JPEG_QUALITY)
    return data_uri(stream.getvalue(), "image/jpeg")


def data_uri(content: bytes, media_type: str) -> str:
    """Content that stands in a page by itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _fitting(picture: bytes) -> ImageSpec:
    from PIL import ExifTags, Image

    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation in _LYING:
        width, height = height, width
    scale = _LONGER_SIDE / max(width, height)
    return ImageSpec(height=max(1, round(height * scale)), width=max(1, round(width * scale)))
