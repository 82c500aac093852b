"""Export a captioner to a folder that captions pictures without this repository.

    python -m src.export
    python -m src.export --model outputs/model --out outputs/export --beam-size 3
    python -m src.export --int8 --out outputs/export-int8

The folder holds one ONNX file (CNN, decoder and beam search; any number of pictures at once), the vocabulary, and a
stand-alone example: `python outputs/export/caption.py photo.jpg` needs ONNX Runtime, Pillow and NumPy alone.

`--int8` makes it smaller and faster on a processor. It looks at photographs to see what ranges numbers have: those in
`--pictures`, or training images of the prepared dataset.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from src import config
from src.caption import beams, files, search
from src.data.images import ImageBytes, decode
from src.data.manifest import Manifest
from src.deployment.folder import export, require_packages
from src.encoders.encoder import Encoder
from src.errors import UserError, reported
from src.places import Places
from src.registry.evaluated import opened

PICTURES = 64
"""More calibration pictures change no range that matters."""


def calibration(encoder: Encoder, folder: Path | None) -> list[UInt8[np.ndarray, "row column 3"]]:
    """Pictures as the encoder reads them: from `folder`, or the first training images of the prepared dataset.

    Raises:
        UserError: there are none.
    """
    if folder is not None:
        images = [decode(path) for path in files([folder])[:PICTURES]]
    else:
        root = config.load().dataset.root
        images = list(_training_images(root))
    return [np.ascontiguousarray(encoder.pixels(image).transpose(1, 2, 0)) for image in images]


def _training_images(root: Path) -> Sequence[Image.Image]:
    try:
        manifest = Manifest.load(Places().dataset)
    except UserError as error:
        raise UserError(f"--int8 needs photographs: name a folder of some (--pictures DIR), or else {error}") from error
    read = ImageBytes(root)
    return [decode(read(image.location), image.name) for image in manifest.split("train")[:PICTURES]]


@reported()
def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require_packages()
    captioner = opened(options.model, Places())
    assert captioner.encoder is not None
    settings = search(captioner.decode, options.beam_size, alternatives=1)
    pictures = calibration(captioner.encoder, options.pictures) if options.int8 else None
    export(captioner, options.out, settings, pictures)
    size = (options.out / "model.onnx").stat().st_size / 2**20
    if settings.rerank != "none":
        print(f"the graph keeps to the beam's own order: decode.rerank={settings.rerank} is not part of it")
    weights = "int8" if options.int8 else "fp32"
    print(f"{options.out}: {captioner.name}, beam {settings.beam_size}, {weights}, {size:.1f} MiB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src.export", description="Export a captioner as one ONNX file.")
    parser.add_argument("--model", type=Path, default=Places().model, help="folder of a captioner bundle")
    parser.add_argument("--out", type=Path, default=Path("outputs/export"), help="folder to write")
    parser.add_argument("--int8", action="store_true", help="8-bit weights and CNN, for processors")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="photographs that --int8 looks at")
    parser.add_argument("--beam-size", type=beams, metavar="N", help="hypotheses kept by the search; 1 is greedy")
    return parser


if __name__ == "__main__":
    main()
