"""Image checks by full decoding, and conversion of unusual encodings to 8-bit RGB."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

MIN_SIDE = 8
MAX_PIXELS = 50_000_000

JPEG_QUALITY = 95

# No other decoder sees a file: some start programs (EPS: Ghostscript), and none is needed for photographs.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
# A converted image whose values all lie so close together, of 255, shows nothing, ...
FLAT = 2
# ... but for this share of pixels at either end, in percent: dead ones of a sensor are often the brightest.
FEW = 1
# Nor does one of more than 8 bits that is darker than this afterwards: it uses a part of its range only.
DARK = 32

_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE = 0x0102  # TIFF tag
_PNG_BIT_DEPTH = 24  # offset in the file: signature, chunk length and type, width, height


class BadImage(Exception):
    """The image cannot be used; the message says why."""


@dataclass(frozen=True)
class Encoded:
    """A usable image: upright 8-bit RGB or grey, as JPEG or PNG.

    Attributes:
        data: the encoded image; the file's own bytes if they are of this kind already.
        pixels: (H, W, 3) uint8, the decoded image.
    """

    data: bytes
    pixels: np.ndarray


def load(data: bytes) -> Encoded:
    """Decode an image file's bytes completely, to be sure that they are usable.

    Re-encodes 16-bit, palette, CMYK, transparent and EXIF-rotated images: JPEG as JPEG, others as PNG.

    Raises:
        BadImage: the file is empty, truncated or undecodable, a side is under :data:`MIN_SIDE` pixels, or the
            image has more than :data:`MAX_PIXELS` pixels, or nothing is left to see after re-encoding.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if min(width, height) < MIN_SIDE:
                raise BadImage(f"{width}×{height} pixels; a side is under {MIN_SIDE}")
            if width * height > MAX_PIXELS:
                raise BadImage(f"{width}×{height} pixels; more than {MAX_PIXELS // 1_000_000} million")
            image.load()
            if _is_plain(image, data):
                return Encoded(data, np.asarray(image.convert("RGB")))
            return _encode(image, data)
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except Image.UnidentifiedImageError as error:
        raise BadImage("not an image") from error
    except Exception as error:  # Pillow's decoders raise exceptions of any type on broken files
        raise BadImage(f"undecodable: {error}") from error


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Return whether every decoder reads the file as the same upright 8-bit picture."""
    return (
        image.mode in ("RGB", "L")
        and image.getexif().get(_ORIENTATION, 1) == 1
        and (image.format == "JPEG" or (image.format == "PNG" and data[_PNG_BIT_DEPTH] == 8))
        and not image.has_transparency_data
    )


def _encode(image: Image.Image, data: bytes) -> Encoded:
    upright = _to_rgb(ImageOps.exif_transpose(image))
    low, high = np.percentile(np.asarray(upright), (FEW, 100 - FEW), axis=(0, 1))
    if (high - low).max() <= FLAT:
        raise BadImage(
            f"{image.mode} pixels that are of one value after conversion to 8-bit RGB; save it with 8 bits"
        )
    if high.max() < DARK and _may_be_deep(image, data):
        raise BadImage(f"{image.mode} pixels that are black after conversion to 8-bit RGB; save it with 8 bits")
    buffer = io.BytesIO()
    if image.format in ("JPEG", "MPO"):
        upright.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        upright.save(buffer, "PNG")
    return Encoded(buffer.getvalue(), np.asarray(upright))


def _may_be_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether the file may hold more than 8 bits a colour; Pillow keeps the upper ones of some kinds."""
    match image.format:
        case "PNG":
            return data[_PNG_BIT_DEPTH] > 8
        case "TIFF":
            return bool(np.max(image.getexif().get(_BITS_PER_SAMPLE, 8)) > 8)
        case "PPM" | "JPEG2000":
            return True
    return False


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow's own conversion would clip at 255 instead of scaling.
        grey = np.asarray(image).astype(np.float64)
        return Image.fromarray((grey * _to_8_bits(image.mode, grey)).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        # The colour of fully transparent pixels is arbitrary; use white, as viewers do.
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(mode: str, values: np.ndarray) -> float:
    """Return the factor that brings integer or float pixels to 0 to 255, told from their range."""
    low, high = float(values.min()), float(values.max())
    if not low >= 0:  # NaN, too
        raise BadImage(f"{mode} pixels from {low:g} to {high:g}; save it with 8 bits")
    # Files of wider types often hold 8-bit values.
    ranges = {1.0: 255.0, 255.0: 1.0} if mode == "F" else {255.0: 1.0, 65535.0: 1 / 257}
    for largest, factor in ranges.items():
        if high <= largest:
            return factor
    raise BadImage(f"{mode} pixels from {low:g} to {high:g}; save it with 8 bits")
