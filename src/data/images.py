"""Image bytes from wherever they lie, and pixels from whatever a person calls a photograph."""

from __future__ import annotations

import os
import re
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from src.data.manifest import Location
from src.errors import UserError

MAX_PIXELS = 64_000_000
_MAX_BYTES = 2**29
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND", b"GIF8": b"\x3b"}
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")
"""Of a JPEG (ITU T.81, B.1.1), one that ends a scan: neither a stuffed zero nor a restart, nor what has no length."""
MOST_SCANS = 100
"""Of a JPEG: some ten are usual, each is a pass over the whole picture however few bytes it has."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright again, by its EXIF orientation (EXIF 2.3, tag 0x0112)."""
_BROKEN = (OSError, ValueError, TypeError, ArithmeticError, LookupError, SyntaxError, EOFError, RuntimeError,
           struct.error, zlib.error)  # fmt: skip
"""What Pillow raises for damaged files, whatever its documentation says."""

Image.init()
_KNOWN = tuple(name for name in _FORMATS if name in Image.OPEN)

# MAX_PIXELS is stricter than the size at which Pillow begins to warn.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Fault = Literal["missing", "zero-sized", "truncated", "altered", "undecodable", "too large"]


class ImageError(UserError):
    """An image cannot be used; the message names it. `fault` says which kind of damage it is."""

    def __init__(self, name: str, fault: Fault, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name, self.fault, self.detail = name, fault, detail

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageError, (self.name, self.fault, self.detail)


class ImageBytes:
    """Reads the bytes of a `Location` below `root`.

    Any number of threads may share one: archives are opened once, at their first use, and read by position, which moves
    no shared file pointer. A pickled copy opens its own files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._archives: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, location: Location) -> bytes:
        """The bytes of one image, inflated where the archive deflated them.

        Raises:
            ImageError: the file is gone, ends before the image does, or has other bytes than its checksum says.
        """
        try:
            # Byte 0 of an archive is a header, so an image that begins there is a loose file.
            data = (self.root / location.path).read_bytes() if location.offset == 0 else self._pread(location)
        except OSError as error:
            raise ImageError(str(self.root / location.path), "missing", error.strerror or str(error)) from None
        if location.offset and len(data) < location.size:
            raise ImageError(
                location.path, "truncated", f"the archive ends before byte {location.offset + location.size}"
            )
        data = _inflate(data, location) if location.deflated else data
        if location.crc32 is not None and zlib.crc32(data) != location.crc32:
            raise ImageError(
                location.path,
                "altered",
                f"the {len(data):,} bytes of the image at byte {location.offset} do not have their checksum "
                f"{location.crc32:08x}: fetch the file again, or run `dvc repro prepare` if it was changed on purpose",
            )
        return data

    def close(self) -> None:
        with self._lock:
            for handle in self._archives.values():
                os.close(handle)
            self._archives.clear()

    def _pread(self, location: Location) -> bytes:
        with self._lock:
            if location.path not in self._archives:
                self._archives[location.path] = os.open(self.root / location.path, os.O_RDONLY)
            handle = self._archives[location.path]
        return os.pread(handle, location.size, location.offset)

    def __getstate__(self) -> Path:
        return self.root

    def __setstate__(self, root: Path) -> None:
        self.__init__(root)  # type: ignore[misc]

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Probe:
    """What a whole image turned out to be.

    Attributes:
        width, height: as seen, orientation applied.
        mode: as stored.
        crc32: of its bytes.
    """

    width: int
    height: int
    mode: str
    crc32: int


def probe(data: bytes, name: str) -> Probe:
    """Decode every pixel and say what the image is.

    Raises:
        ImageError: as `decode` does.
    """
    # An eighth of a JPEG's size needs all of its data and little of its arithmetic.
    image, (width, height) = _open(data, name, MAX_PIXELS, at_least=1)
    with image:
        _load(image, data, name)
        if image.format not in ("JPEG", "MPO"):
            width, height = image.size
        turned = _orientation(image) in (5, 6, 7, 8)
        if turned:
            width, height = height, width
        return Probe(width, height, image.mode, zlib.crc32(data))


def decode(
    source: bytes | Path, name: str = "", *, at_least: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """A photograph as upright 8-bit RGB.

    EXIF orientation is applied, transparency lies on white, of an animation the first frame counts, 16-bit greys keep
    their upper byte.

    Args:
        source: encoded bytes, or the file that holds them.
        name: what errors call the image; a file's own path by default.
        at_least: a JPEG may come out smaller, by a power of two, as long as both sides keep this many pixels;
            decoding is then several times faster.
        max_pixels: larger images are refused before they take memory, JPEGs decoded at half, a quarter or an eighth of
            their size if that fits. That saves nothing where a JPEG has several scans, as progressive ones do.

    Raises:
        ImageError: the file is missing, empty, truncated, larger than `max_pixels`, or no image.
    """
    if isinstance(source, Path):
        name = name or str(source)
        try:
            source = source.read_bytes()
        except OSError as error:
            raise ImageError(name, "missing", error.strerror or str(error)) from None
    name = name or "image"
    image, _ = _open(source, name, max_pixels, at_least)
    with image:
        _load(image, source, name)
        try:
            return _rgb(_upright(image))
        except _BROKEN as error:
            raise ImageError(name, "undecodable", str(error)) from None


def _open(data: bytes, name: str, max_pixels: int, at_least: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """The image, not decoded yet, set to the size it will be decoded at, and the size it has."""
    if not data:
        raise ImageError(name, "zero-sized", "the file is empty")
    try:
        image = Image.open(BytesIO(data), formats=_KNOWN)
        width, height = image.size
        shrink = _shrink(width, height, max_pixels, at_least)
        if shrink > 1:
            image.draft(None, (max(1, width // shrink), max(1, height // shrink)))
    except UnidentifiedImageError:
        raise _damaged(data, name, "not an image in a format known here") from None
    except Image.DecompressionBombError as error:
        raise ImageError(name, "too large", str(error)) from None
    except _BROKEN as error:
        raise _damaged(data, name, str(error)) from None
    if width * height == 0:
        raise ImageError(name, "zero-sized", f"the image is {width} x {height} pixels")
    scans = 1
    if image.format in ("JPEG", "MPO") and (width * height > max_pixels or data.count(_SCAN) > MOST_SCANS):
        scans = _scans(data)
    if scans > MOST_SCANS:
        raise ImageError(name, "undecodable", f"a JPEG of {scans} scans, more than {MOST_SCANS}: save the image anew")
    if (width * height if scans > 1 else image.width * image.height) > max_pixels:
        raise ImageError(
            name, "too large", f"{width} x {height} pixels are more than {max_pixels:,}: scale the image down first"
        )
    return image, (width, height)


def _shrink(width: int, height: int, max_pixels: int, at_least: int | None) -> int:
    """By how much a JPEG should be scaled down while it is decoded: 1, 2, 4 or 8."""
    enough = min(width, height) // at_least if at_least else 1
    needed = (width * height / max_pixels) ** 0.5
    return next((scale for scale in (8, 4, 2) if scale <= enough or (needed > 1 and scale < 2 * needed)), 1)


def _scans(data: bytes) -> int:
    """How many scans a JPEG has, without what may follow its end (a thumbnail within a segment is skipped with it)."""
    scans, position = 0, 2
    while marker := _MARKER.search(data, position):
        position = marker.end()
        if marker[1] == b"\xd9":
            break
        scans += marker[1] == _SCAN[1:]
        position += int.from_bytes(data[position : position + 2], "big")
    return scans


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        # Cameras and editors leave broken EXIF blocks behind; the pixels are sound.
        return 1


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _load(image: Image.Image, data: bytes, name: str) -> None:
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise ImageError(name, "too large", str(error)) from None
    except _BROKEN as error:
        raise _damaged(data, name, str(error)) from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        pixels = np.nan_to_num(np.asarray(image))
        image = Image.fromarray((pixels * (255 if pixels.max() <= 1 else 1)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _damaged(data: bytes, name: str, detail: str) -> ImageError:
    """Tell a file that was cut off from one that never was an image: the former begins well and lacks its end mark."""
    cut = any(data.startswith(start) and end not in data[-16:] for start, end in _ENDS.items())
    if cut or "truncated" in detail:
        return ImageError(name, "truncated", f"the image is truncated ({detail})")
    return ImageError(name, "undecodable", detail)


def _inflate(data: bytes, location: Location) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data, _MAX_BYTES)
    except zlib.error as error:
        raise ImageError(location.path, "undecodable", f"damaged member at byte {location.offset} ({error})") from None
    if not stream.eof:
        raise ImageError(location.path, "truncated", f"the member at byte {location.offset} does not end")
    return plain
