"""Decoding: every kind of picture comes out right, upright and in the wanted size, and bad bytes get a clear error."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from graftwork.preprocess.image import ImageError, ImageSpec, ImageTooLargeError, ResizeMode, decode_image

EXIF_ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """A picture in which every corner has a colour of its own and nothing is sharp."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / max(1, width - 1), 255 * y / max(1, height - 1), 255 * (x + y) / max(1, width + height - 2)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def noise(width: int, height: int) -> Image.Image:
    """A picture that does not compress."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def square(size: int, resize: ResizeMode = "stretch") -> ImageSpec:
    return ImageSpec(height=size, width=size, resize=resize)


def decode_uniform(data: bytes) -> tuple[int, ...]:
    """The one colour of a picture that has only one."""
    pixels = decode_image(data, square(4)).reshape(-1, 3)
    assert (pixels == pixels[0]).all()
    return tuple(int(value) for value in pixels[0])


class TestKinds:
    """What comes out of each kind of picture."""

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
    def test_lossless_rgb_is_kept_exactly(self, kind: str) -> None:
        """A lossless picture already of the wanted size comes out pixel by pixel."""
        picture = smooth(23, 17)
        decoded = decode_image(encode(picture, kind), ImageSpec(height=17, width=23))
        np.testing.assert_array_equal(decoded, np.asarray(picture))
        assert decoded.dtype == np.uint8

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
    def test_lossy_rgb_is_kept_nearly(self, kind: str) -> None:
        """A lossy picture of the wanted size comes out nearly as it was."""
        picture = smooth(64, 48)
        decoded = decode_image(encode(picture, kind, quality=95), ImageSpec(height=48, width=64))
        assert np.abs(decoded.astype(int) - np.asarray(picture)).mean() < 3

    def test_grey(self) -> None:
        """8-bit grey gives three equal channels."""
        assert decode_uniform(encode(Image.new("L", (8, 8), 77))) == (77, 77, 77)

    def test_bilevel(self) -> None:
        """Black-and-white gives 0 or 255."""
        assert decode_uniform(encode(Image.new("1", (8, 8), 1))) == WHITE

    def test_sixteen_bit_grey_keeps_its_brightness(self) -> None:
        """16-bit grey is scaled down, not clipped: the top byte is what counts."""
        data = encode(Image.fromarray(np.full((8, 8), 0x8123, dtype=np.uint16)))
        assert decode_uniform(data) == (0x81, 0x81, 0x81)

    def test_sixteen_bit_rgb_keeps_its_colours(self) -> None:
        """16-bit RGB is scaled down, not clipped."""
        assert decode_uniform(sixteen_bit_rgb_png((0xC812, 0x4034, 0x0A56))) == (0xC8, 0x40, 0x0A)

    def test_cmyk(self) -> None:
        """CMYK becomes RGB: full cyan and magenta without black is blue."""
        red, green, blue = decode_uniform(encode(Image.new("CMYK", (8, 8), (255, 255, 0, 0)), "JPEG", quality=100))
        assert blue > 200
        assert max(red, green) < 60

    def test_palette(self) -> None:
        """Palette colours are looked up."""
        assert decode_uniform(encode(Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4))) == (10, 200, 30)

    def test_palette_with_transparent_entry_lies_on_white(self) -> None:
        """A palette entry marked transparent shows white."""
        assert decode_uniform(encode(Image.new("P", (8, 8), 0), transparency=0)) == WHITE

    @pytest.mark.parametrize(
        ("alpha", "expected"), [(0, (255, 255, 255)), (255, (200, 0, 0)), (51, (244, 204, 204))], ids=str
    )
    def test_transparency_is_laid_on_white(self, alpha: int, expected: tuple[int, int, int]) -> None:
        """Out comes alpha * colour + (1 - alpha) * white, here with alpha 0, 1 and 0.2."""
        decoded = decode_uniform(encode(Image.new("RGBA", (8, 8), (200, 0, 0, alpha))))
        assert np.abs(np.subtract(decoded, expected)).max() <= 1

    def test_grey_with_alpha(self) -> None:
        """Fully transparent grey is white, whatever grey it hides."""
        assert decode_uniform(encode(Image.new("LA", (8, 8), (0, 0)))) == WHITE

    def test_rgb_with_transparent_colour(self) -> None:
        """An RGB PNG may name one colour as transparent."""
        assert decode_uniform(encode(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))) == WHITE

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_animation_gives_its_first_frame(self, kind: str) -> None:
        """Of an animated GIF, WebP or PNG the first frame is taken."""
        frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
        assert decode_uniform(data) == RED

    def test_phone_pictures_with_a_second_picture_inside(self) -> None:
        """MPO files (a JPEG with more JPEGs behind it) give the first picture."""
        data = encode(Image.new("RGB", (16, 16), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
        assert np.abs(np.subtract(decode_uniform(data), RED)).max() <= 2


def sixteen_bit_rgb_png(colour: tuple[int, int, int]) -> bytes:
    """An 8x8 PNG with 16 bits a channel, put together by hand because Pillow cannot write one."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    line = b"\0" + struct.pack(">HHH", *colour) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(line * 8))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


class TestOrientation:
    """Pictures stand upright."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_agrees_with_turning_first(self, orientation: int, kind: str) -> None:
        """Turning the small result equals turning the original with Pillow's own function, then resizing."""
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        data = encode(smooth(90, 60), kind, exif=exif, quality=95)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        expected = np.asarray(upright.convert("RGB").resize((40, 30), Image.Resampling.BILINEAR)).astype(int)
        decoded = decode_image(data, ImageSpec(height=30, width=40))
        assert np.abs(decoded - expected).max() <= 6

    @pytest.mark.parametrize("resize", ["crop", "pad"])
    @pytest.mark.parametrize("orientation", [3, 6, 8])
    def test_crop_and_pad_agree_with_turning_first(self, orientation: int, resize: ResizeMode) -> None:
        """Cropping and padding treat a turned picture as they treat the upright one."""
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        data = encode(smooth(96, 48), exif=exif)
        upright = encode(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        spec = ImageSpec(height=24, width=32, resize=resize)
        assert np.abs(decode_image(data, spec).astype(int) - decode_image(upright, spec)).max() <= 1

    def test_damaged_exif_does_not_spoil_the_picture(self) -> None:
        """A broken EXIF block is ignored."""
        data = encode(Image.new("RGB", (8, 8), RED), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow may comment on the block
            assert decode_uniform(data) == RED

    @pytest.mark.parametrize("orientation", [0, 9, 4711])
    def test_impossible_orientation_is_ignored(self, orientation: int) -> None:
        """Orientations outside 1..8 mean nothing."""
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        picture = smooth(16, 16)
        np.testing.assert_array_equal(decode_image(encode(picture, exif=exif), square(16)), np.asarray(picture))


class TestGeometry:
    """Stretch, crop and pad."""

    def bands(self, width: int, height: int) -> bytes:
        """Red left quarter, green middle half, blue right quarter (or top to bottom if higher than wide)."""
        along = max(width, height)
        line = np.array([RED] * (along // 4) + [GREEN] * (along // 2) + [BLUE] * (along // 4), dtype=np.uint8)
        pixels = np.broadcast_to(line, (min(width, height), along, 3))
        return encode(Image.fromarray(np.ascontiguousarray(pixels if width > height else pixels.transpose(1, 0, 2))))

    @pytest.mark.parametrize("size", [(64, 32), (32, 64)], ids=str)
    def test_crop_takes_the_middle(self, size: tuple[int, int]) -> None:
        """Cropping a 2:1 picture to a square leaves its middle half."""
        decoded = decode_image(self.bands(*size), square(32, "crop"))
        assert (decoded == np.array(GREEN)).all()

    @pytest.mark.parametrize("size", [(64, 32), (32, 64)], ids=str)
    def test_pad_puts_black_borders_evenly(self, size: tuple[int, int]) -> None:
        """Padding a 2:1 picture to a square gives black quarters on both sides and the whole picture between."""
        decoded = decode_image(self.bands(*size), square(32, "pad"))
        if size[0] < size[1]:
            decoded = decoded.transpose(1, 0, 2)
        assert (decoded[:8] == 0).all()
        assert (decoded[24:] == 0).all()
        assert tuple(decoded[16, 2]) == RED
        assert tuple(decoded[16, 16]) == GREEN
        assert tuple(decoded[16, 29]) == BLUE

    def test_stretch_shows_everything(self) -> None:
        """Stretching a 2:1 picture to a square keeps both ends."""
        decoded = decode_image(self.bands(64, 32), square(32))
        assert tuple(decoded[0, 0]) == RED
        assert tuple(decoded[31, 31]) == BLUE

    @pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
    @pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (3, 5000)], ids=str)
    def test_extreme_shapes(self, size: tuple[int, int], resize: ResizeMode) -> None:
        """A picture one pixel wide still comes out in the wanted size, with its colour somewhere."""
        decoded = decode_image(encode(Image.new("RGB", size, RED)), ImageSpec(height=20, width=30, resize=resize))
        assert decoded.shape == (20, 30, 3)
        assert (decoded == np.array(RED)).all(axis=-1).any()

    @pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
    def test_fast_jpeg_decoding_changes_little(self, resize: ResizeMode) -> None:
        """JPEGs decoded at a smaller scale look like those decoded in full: the same pixels as a PNG of them."""
        data = encode(smooth(800, 500), "JPEG", quality=95)
        full = encode(Image.open(io.BytesIO(data)))
        spec = ImageSpec(height=64, width=96, resize=resize)
        assert np.abs(decode_image(data, spec).astype(int) - decode_image(full, spec)).max() <= 5


class TestBadBytes:
    """Bytes that are no usable picture."""

    def test_zero_bytes(self) -> None:
        """An empty file is called empty."""
        with pytest.raises(ImageError, match="empty"):
            decode_image(b"", square(8))

    def test_text_under_a_picture_name(self) -> None:
        """Text is no picture."""
        with pytest.raises(ImageError, match="no picture in a known format"):
            decode_image(b"dear diary, today I was renamed to .jpg\n" * 20, square(8))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_truncated(self, kind: str, share: float) -> None:
        """A file cut off anywhere is refused, never filled up with grey."""
        data = encode(noise(64, 64), kind)
        with pytest.raises(ImageError):
            decode_image(data[: int(len(data) * share)], square(8))

    def test_damaged_in_the_middle(self) -> None:
        """A PNG whose pixel data was overwritten is refused with a reason."""
        data = bytearray(encode(noise(64, 64)))
        data[2_000:2_060] = bytes(60)
        with pytest.raises(ImageError, match="damaged"):
            decode_image(bytes(data), square(8))

    def test_png_damage_that_still_decodes_is_found(self) -> None:
        """One wrong pixel byte in an uncompressed PNG shows in its checksum."""
        data = bytearray(encode(noise(64, 64), compress_level=0))
        data[2_000] ^= 0xFF
        with pytest.raises(ImageError, match="damaged"):
            decode_image(bytes(data), square(8))

    def test_formats_that_start_programs_are_not_read(self) -> None:
        """EPS, which Pillow would hand to Ghostscript, is no known format."""
        data = encode(Image.new("RGB", (8, 8)), "EPS")
        with pytest.raises(ImageError, match="no picture in a known format"):
            decode_image(data, square(8))

    @pytest.mark.filterwarnings("ignore")  # Pillow's comments on the damage
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "JPEG2000", "PPM"])
    def test_random_damage_never_raises_anything_else(self, kind: str) -> None:
        """Whatever bytes change, the outcome is a picture or an ImageError."""
        dice = random.Random(kind)  # noqa: S311 - no secret
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        options = {"exif": exif} if kind in {"JPEG", "PNG", "WEBP", "AVIF"} else {}
        original = encode(smooth(40, 30), kind, **options)
        for _ in range(150):
            data = bytearray(original)
            for _ in range(dice.choice((1, 3, 20))):
                data[dice.randrange(len(data))] = dice.randrange(256)
            with contextlib.suppress(ImageError):
                assert decode_image(bytes(data), square(8)).shape == (8, 8, 3)


class TestPixelLimit:
    """The guard against decompression bombs."""

    def test_fifty_megapixels_are_allowed(self) -> None:
        """A picture of exactly the default limit is decoded."""
        assert decode_uniform(encode(Image.new("L", (10_000, 5_000), 90))) == (90, 90, 90)

    def test_one_pixel_more_than_allowed_is_refused(self) -> None:
        """The limit is exact and the message states both numbers."""
        data = encode(Image.new("L", (101, 100)))
        with pytest.raises(ImageTooLargeError, match="101 x 100 = 10,100 pixels, at most 10,099 allowed"):
            decode_image(data, square(8), max_pixels=10_099)
        assert decode_image(data, square(8), max_pixels=10_100).shape == (8, 8, 3)

    def test_refused_before_decoding(self) -> None:
        """A bomb is refused by its header: its pixel data is never looked at."""
        data = encode(Image.new("L", (3_000, 3_000)))
        headless = data[:60]  # header only; decoding would fail as truncated
        with pytest.raises(ImageTooLargeError):
            decode_image(headless, square(8), max_pixels=1_000_000)

    @pytest.mark.parametrize("max_pixels", [10, 10_000])
    def test_pillows_own_limit_has_no_say(self, max_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither Pillow's warning nor its refusal shows, above or below the caller's limit."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for pixels in (30, 4_000):  # in Pillow's warning zone, and beyond it
                data = encode(Image.new("L", (pixels, 1)))
                if pixels > max_pixels:
                    with pytest.raises(ImageTooLargeError):
                        decode_image(data, square(8), max_pixels=max_pixels)
                else:
                    assert decode_image(data, square(8), max_pixels=max_pixels).shape == (8, 8, 3)
        assert Image.MAX_IMAGE_PIXELS == 20

    def test_pillows_limit_is_left_as_it_was_by_many_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Decoding in threads does not switch off the limit for the rest of the process."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12_345)
        data = encode(smooth(20, 20))
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: decode_image(data, square(8)), range(200)))
        assert all((result == results[0]).all() for result in results)
        assert Image.MAX_IMAGE_PIXELS == 12_345
