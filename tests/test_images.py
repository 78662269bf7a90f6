import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cuhs.images import BadImage, load


def noise(mode: str = "RGB", size: tuple[int, int] = (16, 40)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def file_of(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


JPEG = file_of(noise(size=(64, 128)), "JPEG")

BAD = {
    "zero bytes": (b"", "empty file"),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "undecodable: image file is truncated"),
    "JPEG cut in its header": (JPEG[:100], "undecodable: "),
    "truncated PNG": (file_of(noise(size=(32, 64)), "PNG")[:-40], "undecodable: "),
    "a web page": (b"<html>not found</html>", "not an image"),
    "one pixel": (file_of(noise(size=(1, 1)), "PNG"), "1×1 pixels; a side is under 8"),
    "a side too short": (file_of(noise(size=(7, 64)), "PNG"), "7×64 pixels; a side is under 8"),
    "too many pixels": (
        file_of(Image.new("1", (10_000, 6_000)), "PNG"),
        "10000×6000 pixels; more than 50 million",
    ),
    "decompression bomb": (file_of(Image.new("1", (20_000, 10_000)), "PNG"), "more than 50 million pixels"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_with_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as refused:
        load(data)
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)


PLAIN = {
    "RGB JPEG": JPEG,
    "grey JPEG": file_of(noise("L"), "JPEG"),
    "RGB PNG": file_of(noise(), "PNG"),
    "grey PNG": file_of(noise("L"), "PNG"),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN.keys())
def test_an_ordinary_file_keeps_its_bytes_and_gives_rgb_pixels(data: bytes) -> None:
    encoded = load(data)
    assert encoded.data is data
    assert np.array_equal(encoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


TURNED = Image.Exif()
TURNED[0x0112] = 6  # the camera was turned: shown, width and height change places

ODD = {
    "EXIF rotation": (file_of(noise(size=(40, 16)), "JPEG", exif=TURNED), "JPEG"),
    "CMYK": (file_of(noise("CMYK"), "JPEG"), "JPEG"),
    "palette": (file_of(noise("P"), "PNG"), "PNG"),
    "alpha": (file_of(noise("RGBA"), "PNG"), "PNG"),
    "grey and alpha": (file_of(noise("LA"), "PNG"), "PNG"),
    "16 bits": (file_of(Image.fromarray(np.tile(257 * np.arange(100, 116, dtype=np.uint16), (40, 1))), "PNG"), "PNG"),
    "black and white": (file_of(noise("1"), "PNG"), "PNG"),
    "TIFF": (file_of(noise(), "TIFF"), "PNG"),
    "BMP": (file_of(noise(), "BMP"), "PNG"),
}


@pytest.mark.parametrize(("data", "form"), ODD.values(), ids=ODD.keys())
def test_an_unusual_file_becomes_upright_8_bit_rgb(data: bytes, form: str) -> None:
    encoded = load(data)
    stored = Image.open(io.BytesIO(encoded.data))
    assert (stored.mode, stored.format, stored.size) == ("RGB", form, (16, 40))
    assert encoded.pixels.shape == (40, 16, 3) and encoded.pixels.dtype == np.uint8
    if form == "PNG":
        assert np.array_equal(encoded.pixels, np.asarray(stored))
    assert load(encoded.data).data is encoded.data


def test_16_bit_grey_is_scaled_and_transparency_is_white() -> None:
    assert set(load(ODD["16 bits"][0]).pixels.ravel().tolist()) == set(range(100, 116))
    clear = Image.new("RGBA", (16, 40), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 16, 20))
    pixels = load(file_of(clear, "PNG")).pixels
    assert (pixels[:20] == (0, 0, 255)).all() and (pixels[20:] == 255).all()


def test_lossless_forms_keep_every_pixel() -> None:
    for form in ("TIFF", "BMP"):
        assert np.array_equal(load(file_of(noise(), form)).pixels, np.asarray(noise())), form


def test_a_rotated_image_is_turned_the_right_way() -> None:
    stored = Image.new("RGB", (40, 16), "black")
    stored.paste("white", (0, 0, 20, 16))  # the left half; upright it is the upper one
    upright = load(file_of(stored, "JPEG", exif=TURNED, quality=95))
    for pixels in (upright.pixels, np.asarray(Image.open(io.BytesIO(upright.data)))):
        assert pixels[:18].min() > 240 and pixels[22:].max() < 15


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float32, 1 / 255), (np.float32, 1), (np.uint16, 1), (np.uint16, 257), (np.int32, 1)]
)
def test_pixels_of_wider_types_come_out_as_they_were_meant(dtype: type, scale: float) -> None:
    meant = np.tile(np.arange(40, 240, 5, dtype=np.uint8), (64, 1))
    buffer = io.BytesIO()
    Image.fromarray((meant.astype(float) * scale).astype(dtype)).save(buffer, "TIFF")
    found = load(buffer.getvalue()).pixels
    np.testing.assert_allclose(found[..., 0], meant, atol=1)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.full((64, 32), 0.5, np.float32), "of one value after conversion"),
        (np.linspace(-1, 1, 64 * 32, dtype=np.float32).reshape(64, 32), "from -1 to 1; save it with 8 bits"),
        (np.linspace(0, 4000, 64 * 32, dtype=np.float32).reshape(64, 32), "from 0 to 4000; save it with 8 bits"),
        (np.full((64, 32), np.nan, np.float32), "save it with 8 bits"),
        (np.linspace(0, 1e6, 64 * 32).astype(np.int32).reshape(64, 32), "to 1e\\+06; save it with 8 bits"),
    ],
)
def test_pixels_that_mean_nothing_are_refused(pixels: np.ndarray, said: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    with pytest.raises(BadImage, match=said):
        load(buffer.getvalue())


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a colour, which Pillow reads but does not write: (H, W, 3) uint16."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


RAMP = np.tile(np.linspace(0, 1, 64), (32, 1))


@pytest.mark.parametrize("most", [3, 255, 1023, 4095])
def test_a_picture_that_uses_a_part_of_16_bits_never_passes_as_black(most: int) -> None:
    grey = (RAMP * most).round().astype(np.uint16)
    for data in (file_of(Image.fromarray(grey), "PNG"), file_of(Image.fromarray(grey), "TIFF")):
        if most == 255:
            assert load(data).pixels.max() == 255
        else:
            with pytest.raises(BadImage, match=r"I;16 pixels that are .* save it with 8 bits"):
                load(data)
    with pytest.raises(BadImage, match=r"RGB pixels that are .* save it with 8 bits"):
        load(deep_png(np.stack([grey] * 3, axis=-1)))


def test_a_deep_picture_of_its_whole_range_is_read() -> None:
    pixels = load(deep_png(np.stack([(RAMP * 65535).astype(np.uint16)] * 3, axis=-1))).pixels
    assert pixels.min() == 0 and pixels.max() == 255


def test_a_dead_pixel_does_not_hide_that_the_rest_is_black() -> None:
    grey = (RAMP * 255).astype(np.uint16)
    grey[5, 5] = 65535
    with pytest.raises(BadImage, match="of one value after conversion"):
        load(file_of(Image.fromarray(grey), "PNG"))


def test_floats_a_little_above_1_are_not_taken_for_0_to_255() -> None:
    with pytest.raises(BadImage, match=r"F pixels that are .* save it with 8 bits"):
        load(file_of(Image.fromarray((RAMP * 3.5).astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("form", ["WEBP", "BMP", "GIF", "TIFF"])
def test_a_dark_night_in_8_bits_is_read(form: str) -> None:
    night = np.stack([(RAMP * 20).astype(np.uint8)] * 3, axis=-1)
    assert load(file_of(Image.fromarray(night), form)).pixels.max() <= 32


def test_a_file_for_another_program_is_no_image() -> None:
    with pytest.raises(BadImage, match="not an image"):
        load(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 128\nshowpage\n")


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PPM", "JPEG2000"])
def test_every_kind_of_photograph_is_read(kind: str) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    assert load(buffer.getvalue()).pixels.shape == (64, 32, 3)
