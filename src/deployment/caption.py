"""Caption photographs with the model that lies beside this file.

    pip install onnxruntime pillow numpy
    python caption.py photo.jpg other.png
    python caption.py photo.jpg --alternatives 3 --json

From another program, with this folder on its path:

    captioner = Captioner(Path("folder of model.onnx"))
    [captions] = captioner([captioner.pixels(photograph(Path("photo.jpg")))])
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

NOTHING = -1e29
"""Scores below this mean that fewer captions exist than were asked for."""
SPACE_BEFORE = re.compile(r"\s+([.,;:!?]|'s\b)")
Image.init()
READ = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
FORMATS = tuple(name for name in READ if name in Image.OPEN)
"""Pillow knows others, some of which it hands to programs of this machine."""


class RefusedError(Exception):
    """The input cannot be used; the message says which and why."""


class Caption(NamedTuple):
    """Lower-case words, and the natural logarithm of their probability."""

    text: str
    log_probability: float

    @property
    def sentence(self) -> str:
        """With a capital letter and a full stop, and no space before punctuation."""
        text = SPACE_BEFORE.sub(r"\1", self.text)
        return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


class Captioner:
    """The model in `folder`, loaded once.

    Args:
        threads: 0 is one per core.

    Raises:
        RefusedError: the folder lacks a file, or holds a damaged one.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            stored = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
            self.words: list[str] = stored["specials"] + stored["words"]
            described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.side, self.beams = int(described["pixels"]["side"]), int(described["search"]["beam_size"])
            model = (folder / "model.onnx").read_bytes()
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"{folder} does not hold a whole exported model ({error})") from error
        except Exception as error:  # the runtime's own exceptions share no public base
            raise RefusedError(f"{folder / 'model.onnx'} cannot be loaded: {error}") from error

    def pixels(self, image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """An RGB picture as the model reads it, [row, column, 3]: all of it, scaled to a square."""
        size = (self.side, self.side)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))

    def __call__(self, pictures: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> list[list[Caption]]:
        """The captions of each picture of `pixels`, best first.

        Raises:
            RefusedError: a picture has another shape or type than `pixels` gives.
        """
        wanted = (self.side, self.side, 3)
        for number, picture in enumerate(pictures):
            if picture.shape != wanted or picture.dtype != np.uint8:
                raise RefusedError(
                    f"picture {number} is {list(picture.shape)} of {picture.dtype}, the model reads {list(wanted)} of "
                    "uint8: make it with `pixels`"
                )
        if not len(pictures):
            return []
        words, logs, scores = self.session.run(None, {"pixels": np.stack(pictures)})
        return [
            [
                Caption(" ".join(self.words[word] for word in ids if word), float(log))
                for ids, log, score in zip(*found, strict=True)
                if score > NOTHING
            ]
            for found in zip(words.tolist(), logs, scores, strict=True)
        ]


def photograph(source: Path | bytes) -> Image.Image:
    """An image file, or its bytes, as upright 8-bit RGB: transparency on white, of an animation the first frame.

    Raises:
        RefusedError: it is missing, damaged or no image.
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
            opened.load()
            image = _upright(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
            elif image.mode == "F":
                values = np.nan_to_num(np.asarray(image))
                image = Image.fromarray((values * (255 if values.max() <= 1 else 1)).clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except Exception as error:  # every format's decoder has exceptions of its own for damaged bytes
        name = "image" if isinstance(source, bytes) else source
        raise RefusedError(f"{name} is not an image that can be read: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block; the pixels are sound
        return image


def main() -> int:
    parser = argparse.ArgumentParser(description="Caption photographs with the model beside this file.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--alternatives", type=int, default=1, metavar="N", help="captions shown per image")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: one per core")
    parser.add_argument("--json", action="store_true", help="one JSON object per image")
    options = parser.parse_args()
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may have bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    failed = 0
    try:
        captioner = Captioner(options.model, options.threads)
        if not 1 <= options.alternatives <= captioner.beams:
            raise RefusedError(f"--alternatives is 1 to {captioner.beams}, the beams the model was exported with")
    except RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in options.images:
        try:
            [found] = captioner([captioner.pixels(photograph(path))])
        except RefusedError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        found = found[: options.alternatives]
        if options.json:
            captions = [{"caption": one.text, "log_probability": round(one.log_probability, 4)} for one in found]
            print(json.dumps({"image": str(path), "captions": captions}, ensure_ascii=False))
        else:
            for one in found:
                print(one.sentence if len(options.images) == 1 else f"{path}: {one.sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
