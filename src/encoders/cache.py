"""The embedding cache: every image's grid in one memory-mapped fp16 array.

Row i belongs to image i of the manifest. While it is being filled the array lives outside the stage's outputs, next to
one flag per row, so that an extraction killed at any moment goes on from the rows it has; only a complete one takes its
place in `outputs/embeddings/`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import Timeout
from jaxtyping import Float16, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from src.ahead import ahead
from src.config import Embed, fingerprint
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord, Manifest
from src.encoders.encoder import Encoder, Provenance, digest, rounded
from src.encoders.folding import folded
from src.encoders.network import NORMALISATIONS
from src.errors import UserError
from src.files import disk_is_full, settle, write_json
from src.heap import keep_freed_memory
from src.portions import Portions
from src.precision import described, refuse_without_gpu
from src.processes import Group
from src.unfinished import lock, tell_of_others

GRIDS_FILE = "grids.npy"
INDEX_FILE = "index.json"
PROVENANCE_FILE = "provenance.json"
DONE_FILE = "done.npy"
WEIGHTS_FILE = "encoder.safetensors"

BEHIND = 2
"""Batches by which the disk may be behind the network."""
FLUSH_EVERY = 16
"""Batches between two synchronisations with the disk: the most a power cut can cost."""
REMEDY = "use a smaller embed.image_size or another embed.encoder"


@dataclass(frozen=True)
class Embeddings:
    """A complete cache, opened for reading.

    Attributes:
        grids: memory-mapped, read-only; rows are images of the manifest.
        provenance: what made the grids.
        digest: names this content: provenance, and which images in which order.
    """

    grids: Float16[np.ndarray, "image region feature"]
    provenance: Provenance
    digest: str
    folder: Path

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, settings: Embed | None = None) -> Embeddings:
        """Open the cache in `folder` for the images of `manifest`.

        Raises:
            UserError: the cache is absent, incomplete or damaged, or was made of other images or with other settings.
        """
        path = folder / PROVENANCE_FILE
        if not path.exists():
            raise UserError(f"{path} is missing: run `dvc repro embed`")
        try:
            provenance = Provenance.from_json(json.loads(path.read_text(encoding="utf-8")))
            images = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
            grids = np.load(folder / GRIDS_FILE, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder} is damaged ({error}): delete it and run `dvc repro embed`") from error
        if images != _index(manifest):
            raise UserError(
                f"{folder} holds the grids of {len(images)} images that are not the {len(manifest)} of the manifest: "
                "run `dvc repro embed`"
            )
        if settings is not None:
            _check(folder, provenance, settings)
        expected = (len(images), provenance.regions, provenance.features)
        if grids.shape != expected or grids.dtype != np.float16:
            raise UserError(f"{folder / GRIDS_FILE} is {grids.dtype} {grids.shape}, not float16 {expected}: delete it")
        return cls(grids, provenance, fingerprint(provenance.to_json(), images), folder)

    def weights(self) -> Path:
        """The file with the encoder's weights.

        Raises:
            UserError: it is missing or damaged, or holds others than those that made the grids.
        """
        path = self.folder / WEIGHTS_FILE
        try:
            wrong = "" if digest(load_file(path)) == self.provenance.weights else "it was changed"
        except (OSError, SafetensorError) as error:
            wrong = str(error)
        if wrong:
            raise UserError(
                f"{path} does not hold the weights that made the grids ({wrong}): delete {self.folder} and run "
                "`dvc repro embed`"
            )
        return path


def _index(manifest: Manifest) -> list[str]:
    """What each row is of: the image's name, and the checksum of its bytes where it is known."""
    return [
        image.name if image.location.crc32 is None else f"{image.name} {image.location.crc32:08x}"
        for image in manifest.images
    ]


def fill(
    encoder: Encoder,
    manifest: Manifest,
    data_root: Path,
    out: Path,
    scratch: Path,
    settings: Embed,
    group: Group,
) -> dict[str, Any]:
    """Compute every image's grid, from where an earlier attempt stopped, and move the complete cache to `out`.

    Args:
        scratch: folder that outlives a killed run; the unfinished array is kept in it under a name made of everything
            that decides its content, so that other settings never continue it.
        group: the processes that share the work; each takes every n-th of the rows that are missing.

    Returns:
        What happened: images, images already there, seconds, images per second.

    Raises:
        UserError: fp16 without a GPU; an identical extraction is at work; an image cannot be read, or is too much for
            the GPU's memory; a grid does not fit into fp16.
    """
    refuse_without_gpu(settings.precision, group.device, "embed")
    keep_freed_memory()
    provenance = encoder.provenance
    names = _index(manifest)
    locations = [astuple(image.location) for image in manifest.images]
    folder = scratch / f"embed-{fingerprint(provenance.to_json(), names, locations)}"
    with _alone(folder) if group.is_main else nullcontext():
        if group.is_main:
            tell_of_others(folder)
            _open_arrays(folder, (len(names), provenance.regions, provenance.features))
        group.barrier()
        grids = np.load(folder / GRIDS_FILE, mmap_mode="r+", allow_pickle=False)
        done = np.load(folder / DONE_FILE, mmap_mode="r+", allow_pickle=False)
        missing = np.flatnonzero(~done)
        already = len(names) - len(missing)
        group.barrier()  # every process has read the flags before any of them changes one
        started = time.perf_counter()
        _extract(folded(encoder).to(group.device), manifest, data_root, grids, done, missing, settings, group)
        group.barrier()
        seconds = time.perf_counter() - started
        if group.is_main:
            del grids, done
            _publish(folder, out, encoder, provenance, names)
    group.barrier()
    return {
        "computed_in": described(settings.precision, group.device),
        "images": len(names),
        "images_already_there": already,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(missing) / seconds, 1) if len(missing) else None,
    }


def _extract(
    encoder: Encoder,
    manifest: Manifest,
    data_root: Path,
    grids: Float16[np.ndarray, "image region feature"],
    done: np.ndarray,
    missing: np.ndarray,
    settings: Embed,
    group: Group,
) -> None:
    """Fill this process' share of the rows that are missing."""
    rows, already = missing[group.rank :: group.size], len(manifest) - len(missing)
    unsaved: list[np.ndarray] = []

    def write(batch: np.ndarray, features: Tensor) -> None:
        grids[batch] = features.numpy()
        unsaved.append(batch)
        if len(unsaved) == FLUSH_EVERY:
            save()

    def save() -> None:
        # The grids reach the disk before the flags that vouch for them.
        grids.flush()  # type: ignore[attr-defined]
        for batch in unsaved:
            done[batch] = True
        done.flush()  # type: ignore[attr-defined]
        unsaved.clear()

    bar = tqdm(total=already + len(rows), initial=already, unit="img", desc="embed", disable=not group.is_main)
    batches = [rows[start : start + settings.batch_size] for start in range(0, len(rows), settings.batch_size)]
    read = ImageBytes(data_root)
    portions = Portions(settings.batch_size, REMEDY)
    writing: deque[Future[None]] = deque()
    # The disk is waited for by a thread of its own, never more than a few batches behind.
    with bar, torch.inference_mode(), ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        for batch, pixels in decoded(
            encoder, [[manifest.images[row] for row in batch] for batch in batches], read, settings.workers
        ):
            features = _grids(encoder, pixels, group.device, portions)
            if not torch.isfinite(features).all():
                raise UserError(
                    f"{encoder.name} exceeds fp16 at layer {encoder.layer}: tap another one (-S embed.layer=NAME)"
                )
            writing.append(writer.submit(write, batches[batch], features))
            if len(writing) > BEHIND:
                writing.popleft().result()
            bar.update(len(batches[batch]))
        for written in writing:
            written.result()
        save()


def encode(
    encoder: Encoder, images: Sequence[ImageRecord], data_root: Path, settings: Embed, device: torch.device
) -> Float16[np.ndarray, "image region feature"]:
    """The grids of some images, in memory: for an encoder that has learnt since the cache was filled."""
    encoder = folded(encoder).to(device)
    if not images:  # a process that has none of a small split
        return np.empty((0, encoder.rows * encoder.columns, encoder.features), np.float16)
    size = settings.batch_size
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    read, portions = ImageBytes(data_root), Portions(size, REMEDY)
    with torch.inference_mode():
        parts = [
            _grids(encoder, pixels, device, portions).numpy()
            for _, pixels in decoded(encoder, batches, read, settings.workers)
        ]
    return np.concatenate(parts)


def _grids(
    encoder: Encoder, pixels: UInt8[Tensor, "image 3 row column"], device: torch.device, portions: Portions
) -> Float16[Tensor, "image region feature"]:
    """As the cache keeps them."""

    def looked(some: slice) -> Tensor:
        grids: Tensor = encoder(pixels[some].to(device, non_blocking=True))
        return grids.to(torch.float16).cpu()

    return torch.cat(list(portions.of(len(pixels), looked)))


def decoded(
    encoder: Encoder, batches: Sequence[Sequence[ImageRecord]], read: ImageBytes, workers: int
) -> Iterator[tuple[int, UInt8[Tensor, "image 3 row column"]]]:
    """Batches of pictures at the encoder's size, decoded by threads while the caller computes: a few batches ahead,
    never more, so that memory stays flat."""

    def load(record: ImageRecord) -> UInt8[np.ndarray, "3 row column"]:
        return encoder.pixels(decode(read(record.location), record.name, at_least=encoder.image_size))

    for index, pictures in enumerate(ahead(batches, load, workers, "decode")):
        yield index, torch.from_numpy(np.stack(pictures))


def _publish(folder: Path, out: Path, encoder: Encoder, provenance: Provenance, names: list[str]) -> None:
    """Make `out` a complete cache: the description arrives last, and without it nothing opens the folder."""
    save_file({key: value.cpu() for key, value in encoder.used_state().items()}, folder / WEIGHTS_FILE)
    write_json(folder / INDEX_FILE, names)
    write_json(folder / PROVENANCE_FILE, provenance.to_json())
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    # Killed before the grids are moved, all the work is still there; hence they go as late as they can.
    for name in (WEIGHTS_FILE, INDEX_FILE, GRIDS_FILE):
        shutil.move(folder / name, out / name)
    settle(out)
    shutil.move(folder / PROVENANCE_FILE, out / PROVENANCE_FILE)
    settle(out)
    shutil.rmtree(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the unfinished array against an identical extraction; a crash lets go of it."""
    try:
        held = lock(folder).acquire(timeout=0)
    except Timeout:
        raise UserError(f"an identical extraction is at work in {folder}: wait for it") from None
    with held:
        yield


def _open_arrays(folder: Path, shape: tuple[int, int, int]) -> None:
    """Create grids and flags, or keep those an earlier attempt left."""
    folder.mkdir(exist_ok=True)
    if not (folder / GRIDS_FILE).exists():
        # A former attempt was killed after it had moved its grids away: its flags vouch for nothing.
        (folder / DONE_FILE).unlink(missing_ok=True)
        _create_array(folder / GRIDS_FILE, shape, np.float16)
    if not (folder / DONE_FILE).exists():
        _create_array(folder / DONE_FILE, shape[:1], np.bool_)


def _create_array(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """An array of zeros that has its name only when it is whole, and its place on the disk.

    Raises:
        UserError: the disk has no room for it. Where the system cannot reserve it (macOS), that shows later.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
    size = temporary.stat().st_size
    try:
        if hasattr(os, "posix_fallocate"):  # a write to the map that finds no room would kill the process (SIGBUS)
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        temporary.unlink()
        if not disk_is_full(error):
            raise
        raise UserError(f"no space is left for {path} ({size / 2**20:.0f} MiB): free some and go on") from None
    temporary.replace(path)


def _filled(asked: str, made: str) -> str:
    """What was asked for, 'default' replaced by what that was when the cache was made; encoder by encoder, and for each
    of them where it was said once."""
    layers = made.split("+")
    own = asked.split("+") if "+" in asked else [asked] * len(layers)
    return "+".join(there if wanted == "default" else wanted for wanted, there in zip(own, layers, strict=False))


def _check(folder: Path, provenance: Provenance, settings: Embed) -> None:
    """Compare what the parameters say outright with what made the cache (weights are compared by `embed` itself)."""
    asked: dict[str, Any] = {"encoder": settings.encoder, "precision": settings.precision}
    if settings.layer != "default":
        asked["layer"] = _filled(settings.layer, provenance.layer)
    if settings.image_size is not None:
        asked["image_size"] = settings.image_size
    checks = [(provenance, asked)]
    if settings.normalisation != "default":
        mean, std = NORMALISATIONS[settings.normalisation]
        scaling = {"mean": rounded(mean), "std": rounded(std)}
        checks += [(one, scaling) for one in provenance.parts or (provenance,)]
    wrong = [
        f"{key} is {getattr(made, key)!r}, params.yaml says {value!r}"
        for made, wanted in checks
        for key, value in wanted.items()
        if getattr(made, key) != value
    ]
    if wrong:
        raise UserError(f"{folder} was made with other settings ({'; '.join(wrong)}): run `dvc repro embed`")
