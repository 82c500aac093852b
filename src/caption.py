"""Caption photographs from the command line.

    python -m src.caption photo.jpg holiday/ --beam-size 5
    python -m src.caption photo.jpg --alternatives 3 --attention looks/
    python -m src.caption holiday/ --json > captions.jsonl
    python -m src.caption photo.jpg --alias champion

Prints one line per image, however often it is named. Folders are searched for images. A file that cannot be captioned
is named on stderr, the others are captioned all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import count, islice
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from src.config import Decode
from src.data.images import ImageError, decode
from src.decoding.describe import Caption, describe
from src.errors import UserError, reported
from src.models.captioner import Captioner
from src.places import Places
from src.registry.evaluated import opened

BATCH = 16
MOST_BEAMS = 64
LONGEST_STEM = 200
"""Bytes; file systems allow some 255 for a whole name."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}


def files(arguments: Sequence[Path]) -> list[Path]:
    """The images that the arguments name, each once: a file itself, whatever it is called; of a folder all that look
    like images.

    Raises:
        UserError: a folder holds no image.
    """
    found: list[Path] = []
    for argument in arguments:
        if not argument.is_dir():
            found.append(argument)
            continue
        inside = sorted(path for path in argument.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not inside:
            raise UserError(f"{argument} holds no image ({', '.join(sorted(SUFFIXES))})")
        found += inside
    return list(dict.fromkeys(found))


def drawings(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each image's attention is drawn: no two share a file, and none takes the place of an image. Names of images
    may be as long as names of files can be, and are cut."""
    taken = {image.resolve() for image in images}
    places: dict[Path, Path] = {}
    for image in images:
        stem = os.fsencode(image.stem)[:LONGEST_STEM].decode(errors="ignore")
        names = (f"{stem}-attention{f'-{number}' if number > 1 else ''}.png" for number in count(1))
        places[image] = next(place for name in names if (place := folder / name).resolve() not in taken)
        taken.add(places[image].resolve())
    return places


def search(settings: Decode, beam_size: int | None, alternatives: int) -> Decode:
    """The search that the options ask for: a captioner's own, widened where it would find too few alternatives.

    Raises:
        UserError: the beam asked for is narrower than the alternatives.
    """
    if beam_size is not None and beam_size < alternatives:
        raise UserError(
            f"--beam-size {beam_size} finds no {alternatives} alternatives: use --beam-size {alternatives} or more"
        )
    chosen = beam_size or max(settings.beam_size, alternatives)
    return Decode.model_validate({**settings.model_dump(), "beam_size": chosen})


def named(text: str) -> Path:
    """A command's argument: a path. None at all would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("a name is empty: name image files, or folders of them")
    return Path(text)


def beams(text: str) -> int:
    """A command's option: so many beams, or captions out of them."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_BEAMS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_BEAMS}")
    return int(text)


def caption(captioner: Captioner, images: Sequence[Image.Image], settings: Decode) -> list[list[Caption]]:
    """The captions of RGB pictures, best first."""
    with torch.inference_mode():
        grids = captioner.grids(images)
        return describe(captioner.decoder, captioner.vocabulary, grids, settings, captioner.expectation)


@reported()
def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may have bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    paths = files(options.images)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    captioner = _captioner(options.model, options.alias).to(device)
    settings = search(captioner.decode, options.beam_size, options.alternatives)
    places = drawings(paths, _folder(options.attention)) if options.attention else {}
    failed = 0
    progress = track(paths, "caption", console=Console(stderr=True), disable=len(paths) <= BATCH, transient=True)
    for batch in _batches(progress):
        images: dict[Path, Image.Image] = {}
        for path in batch:
            try:
                images[path] = decode(path)
            except ImageError as error:
                failed += 1
                print(f"error: {error}", file=sys.stderr)
        if not images:
            continue
        for path, found in zip(images, caption(captioner, list(images.values()), settings), strict=True):
            _show(path, found[: options.alternatives], as_json=options.json, alone=len(paths) == 1)
            if path in places:
                _draw(places[path], images[path], found[0], captioner)
    if failed:
        sys.exit(1)


def _show(path: Path, found: Sequence[Caption], *, as_json: bool, alone: bool) -> None:
    if as_json:
        captions = [{"caption": one.text, "log_probability": round(one.log_probability, 4)} for one in found]
        print(json.dumps({"image": str(path), "captions": captions}, ensure_ascii=False), flush=True)
        return
    for one in found:
        print(one.sentence if alone else f"{path}: {one.sentence}", flush=True)


def _draw(target: Path, image: Image.Image, found: Caption, captioner: Captioner) -> None:
    from src.visualize.attention import attention_figure
    from src.visualize.style import save

    shape = captioner.provenance
    figure = attention_figure(image, found.words, found.attention.numpy(), shape.rows, shape.columns, found.sentence)
    save(figure, target)
    print(f"  {target}", file=sys.stderr)


def _captioner(folder: Path, alias: str | None) -> Captioner:
    if alias is None:
        return opened(folder, Places())
    from src.registry.versions import Registry  # and MLflow with it

    return Registry().captioner(alias)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--attention {path}: no such folder can be made ({error.strerror})") from None
    return path


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src.caption", description="Caption photographs.")
    parser.add_argument("images", nargs="+", type=named, metavar="IMAGE", help="image files, or folders of them")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", type=Path, default=Places().model, help="folder of a captioner bundle")
    source.add_argument("--alias", metavar="NAME", help="a registered model instead: champion, previous, 3, ...")
    parser.add_argument("--beam-size", type=beams, metavar="N", help="hypotheses kept by the search; 1 is greedy")
    parser.add_argument("--alternatives", type=beams, default=1, metavar="N", help="captions shown per image")
    parser.add_argument("--attention", type=Path, metavar="DIR", help="draw where each word looked, one PNG per image")
    parser.add_argument("--json", action="store_true", help="one JSON object per image")
    return parser


if __name__ == "__main__":
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends this as it ends any program
    main()
