"""The cache is complete or it does not open, whatever happens while it is filled."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tqdm import tqdm

from src.config import Embed
from src.data.images import ImageBytes, ImageError
from src.data.manifest import Manifest
from src.encoders import cache
from src.encoders import loading as encoders
from src.encoders.cache import Embeddings
from src.encoders.encoder import Encoder
from src.errors import UserError
from src.processes import Group

IMAGES = 13


class Interrupted(Exception):
    pass


class Fill:
    """Fills one cache, again and again, and counts the pictures that are encoded."""

    def __init__(self, encoder: Encoder, manifest: Manifest, data: Path, folder: Path, settings: Embed) -> None:
        self.encoder, self.manifest, self.data, self.settings = encoder, manifest, data, settings
        self.out, self.scratch = folder / "embeddings", folder / "resume"
        self.encoded = 0

    def __call__(self, after: int | None = None, **changes: Any) -> dict[str, Any]:
        """Args: after: pictures after which the work is interrupted."""
        self.encoded = 0
        forward = Encoder.forward

        def counted(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
            if after is not None and self.encoded >= after:
                raise Interrupted
            self.encoded += len(pixels)
            return forward(encoder, pixels)

        # Of the class: what looks at the pictures is a folded copy of the encoder.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Encoder, "forward", counted)
            return cache.fill(**({
                "encoder": self.encoder, "manifest": self.manifest, "data_root": self.data, "out": self.out,
                "scratch": self.scratch, "settings": self.settings, "group": tiny.ALONE,
            } | changes))  # fmt: skip

    def open(self, settings: Embed | None = None) -> Embeddings:
        return Embeddings.open(self.out, self.manifest, settings)


@pytest.fixture
def fill(encoder, manifest, data, tmp_path, settings, monkeypatch) -> Fill:
    monkeypatch.setattr(cache, "FLUSH_EVERY", 1)
    return Fill(encoder, manifest, data, tmp_path, settings)


@pytest.fixture(scope="session")
def expected(encoder, manifest, data) -> np.ndarray:
    """Each image's grid, encoded alone."""
    from src.data.images import decode

    read = ImageBytes(data)
    with torch.inference_mode():
        grids = [
            encoder(torch.from_numpy(encoder.pixels(decode(read(image.location), image.name)))[None])
            for image in manifest.images
        ]
    return torch.cat(grids).half().numpy()


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Up to the last digits of half precision, which the size of the batch may change: an encoder that has learnt
    nothing says little above zero."""
    return found.dtype == np.float16 and np.allclose(found, expected, rtol=2e-3, atol=0.05 * expected.max())


def test_grids_of_different_images_are_not_the_same(expected):
    assert not any(same(expected[row], expected[row - 1]) for row in range(IMAGES))


def test_row_i_is_the_grid_of_image_i(fill, expected):
    told = fill()
    assert same(fill.open().grids, expected)
    assert (told["images"], told["images_already_there"]) == (IMAGES, 0)
    assert not list(fill.scratch.glob("embed-*"))


def test_pictures_that_were_exchanged_meanwhile_are_not_gone_on_with_nor_opened(fill):
    def known(shift: int) -> Manifest:
        images = [replace(image, location=replace(image.location, crc32=number + shift))
                  for number, image in enumerate(fill.manifest.images)]  # fmt: skip
        return Manifest.of(images)

    fill.manifest = known(0)
    with pytest.raises(ImageError):  # these are no checksums of theirs
        fill()
    former = cache._index(fill.manifest)
    fill.manifest = known(1)
    assert cache._index(fill.manifest) != former
    fill.manifest = Manifest.of(
        replace(image, location=replace(image.location, crc32=None)) for image in known(0).images
    )
    fill()
    fill.manifest = known(0)
    with pytest.raises(UserError, match="not the"):
        fill.open()


def test_an_interrupted_extraction_goes_on_with_the_rows_it_lacks(fill, expected):
    with pytest.raises(Interrupted):
        fill(after=6)
    assert not fill.out.exists()
    told = fill()
    assert told["images_already_there"] == 6
    assert fill.encoded == IMAGES - 6
    assert same(fill.open().grids, expected)


def killed_while_filling(
    settings: Embed, manifest: Manifest, data: Path, out: Path, scratch: Path, moment: str
) -> None:
    def die(*arguments: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    cache.FLUSH_EVERY = 1
    encoder = encoders.load(settings)
    if moment == "after 4 images":
        forward, batches = Encoder.forward, iter(range(3))

        def forward_until(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
            if next(batches) == 2:
                (flags,) = scratch.rglob(cache.DONE_FILE)
                while np.load(flags).sum() < 4:  # what is written waits for the disk in a thread of its own
                    time.sleep(0.01)
                die()
            return forward(encoder, pixels)

        Encoder.forward = forward_until  # type: ignore[method-assign]
    else:
        move = shutil.move
        shutil.move = lambda old, new: move(old, new) if Path(old).name != moment else die()
    cache.fill(encoder, manifest, data, out, scratch, settings, tiny.ALONE)


@pytest.mark.parametrize(("moment", "kept"), [("after 4 images", 4), (cache.GRIDS_FILE, IMAGES)])
def test_a_killed_extraction_goes_on_with_the_rows_it_lacks(fill, expected, moment, kept):
    arguments = (fill.settings, fill.manifest, fill.data, fill.out, fill.scratch, moment)
    process = multiprocessing.get_context("forkserver").Process(target=killed_while_filling, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match="dvc repro embed"):
        fill.open()
    assert fill()["images_already_there"] == kept
    assert same(fill.open().grids, expected)


def test_unfinished_extractions_with_other_settings_are_told_of_with_their_size(fill, capsys):
    with pytest.raises(Interrupted):
        fill(after=2)
    (left,) = fill.scratch.glob("embed-*")
    fill.manifest = Manifest.of(reversed(fill.manifest.images))
    with cache._alone(left):
        fill()
    assert "unfinished" not in capsys.readouterr().out, "it is at work"
    fill()
    told = capsys.readouterr().out
    assert f"{left} was left unfinished with other settings (" in told
    fill.manifest = Manifest.of(reversed(fill.manifest.images))
    fill()
    assert "unfinished" not in capsys.readouterr().out


def test_flags_without_their_grids_vouch_for_nothing(fill, expected, monkeypatch):
    """What is left when a process is killed after it has moved the grids, and DVC then deletes the stage's outputs."""

    def die(old: Path, new: Path, move=shutil.move) -> None:
        if Path(old).name == cache.PROVENANCE_FILE:
            raise Interrupted
        move(old, new)

    with monkeypatch.context() as broken, pytest.raises(Interrupted):
        broken.setattr(shutil, "move", die)
        fill()
    with pytest.raises(UserError, match="missing"):
        fill.open()
    shutil.rmtree(fill.out)
    fill()
    assert same(fill.open().grids, expected)


def test_other_settings_do_not_go_on_from_an_unfinished_array(fill):
    with pytest.raises(Interrupted):
        fill(after=6)
    other = encoders.load(fill.settings.model_copy(update={"normalisation": "half"}))
    assert fill(encoder=other)["images_already_there"] == 0


def test_the_array_has_its_place_on_the_disk_before_the_work_begins(fill, monkeypatch):
    with pytest.raises(Interrupted):
        fill(after=0)
    (array,) = fill.scratch.glob("embed-*/grids.npy")
    assert array.stat().st_blocks * 512 >= array.stat().st_size
    shutil.rmtree(array.parent)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no space is left for .*grids\.npy \(0 MiB\)"):
        fill()
    assert not list(fill.scratch.glob("embed-*/*"))


def test_a_complete_cache_is_replaced_whole(fill, expected):
    fill()
    (fill.out / "leftover").touch()
    fill()
    assert fill.encoded == IMAGES
    assert not (fill.out / "leftover").exists()
    assert same(fill.open().grids, expected)


def test_an_identical_extraction_at_the_same_time_is_refused(fill, encoder, monkeypatch):
    decoded = cache.decoded

    def second_in_between(*arguments):
        with monkeypatch.context() as plain, pytest.raises(UserError, match="identical extraction is at work"):
            plain.setattr(cache, "decoded", decoded)
            cache.fill(encoder, fill.manifest, fill.data, fill.out, fill.scratch, fill.settings, tiny.ALONE)
        return decoded(*arguments)

    monkeypatch.setattr(cache, "decoded", second_in_between)
    fill()
    assert fill.open().grids.any()


def share(
    group: Group, settings: Embed, manifest: Manifest, data: Path, out: Path, scratch: Path
) -> tuple[int, list[tuple[int, int]]]:
    """What one of two processes does of the work: how many pictures, and what its progress bar shows at both ends."""
    torch.set_num_threads(1)
    filled = Fill(encoders.load(settings), manifest, data, out.parent, settings)
    shown = list[tuple[int, int]]()

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, **told: Any) -> None:
            super().__init__(**told | {"disable": False, "file": io.StringIO()})
            shown.append((self.n, self.total))

        def __exit__(self, *error: Any) -> None:
            shown.append((self.n, self.total))
            super().__exit__(*error)

    cache.tqdm = Bar  # type: ignore[misc]
    try:
        filled(out=out, scratch=scratch, group=group)
    finally:
        cache.tqdm = tqdm  # type: ignore[misc]
    return filled.encoded, shown


def test_two_processes_share_the_work_and_give_the_same_array(fill, expected, ranks):
    with pytest.raises(Interrupted):
        fill(after=4)
    first, second = ranks(share, fill.settings, fill.manifest, fill.data, fill.out, fill.scratch)
    assert first == (5, [(4, 9), (9, 9)]), "progress begins with what is there and ends with the process' own share"
    assert second == (4, [(4, 8), (8, 8)])
    assert same(fill.open().grids, expected)


def test_pictures_too_many_for_the_memory_are_encoded_in_parts(fill, expected, monkeypatch):
    forward, room = Encoder.forward, 1

    def limited(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(encoder, pixels)

    monkeypatch.setattr(Encoder, "forward", limited)
    fill()
    assert same(fill.open().grids, expected)
    encoded = cache.encode(fill.encoder, fill.manifest.images, fill.data, fill.settings, torch.device("cpu"))
    assert same(encoded, expected)
    room = 0
    with pytest.raises(UserError, match=r"one image is too much .* embed\.image_size"):
        fill()


def test_a_picture_that_cannot_be_read_is_named_and_the_work_before_it_kept(fill, tmp_path):
    fill.data = shutil.copytree(fill.data, tmp_path / "pictures")
    gone = fill.data / fill.manifest.images[8].location.path
    kept = gone.rename(tmp_path / "kept.png")
    with pytest.raises(ImageError, match=gone.name):
        fill()
    assert not fill.out.exists()
    kept.rename(gone)
    assert fill()["images_already_there"] == 8
    assert fill.encoded == IMAGES - 8


def test_grids_that_half_precision_cannot_hold_are_refused(fill):
    with torch.no_grad():
        weights = fill.encoder.network.conv5[1].weight
        weights.mul_(1e9)
        try:
            with pytest.raises(UserError, match=r"exceeds fp16 at layer conv5: tap another"):
                fill()
        finally:
            weights.div_(1e9)


def test_fp16_without_a_gpu_is_refused(fill):
    with pytest.raises(UserError, match=r"embed\.precision is fp16, which needs a GPU"):
        fill(settings=fill.settings.model_copy(update={"precision": "fp16"}))
    assert not fill.scratch.exists()


def test_a_cache_of_other_images_does_not_open(fill):
    fill()
    fewer = Manifest.of(fill.manifest.images[:-1])
    with pytest.raises(UserError, match=r"13 images that are not the 12 of the manifest"):
        Embeddings.open(fill.out, fewer)
    with pytest.raises(UserError, match="not the 13"):
        Embeddings.open(fill.out, Manifest.of(reversed(fill.manifest.images)))


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "resnet18"},
        {"image_size": 96},
        {"layer": "stage2"},
        {"precision": "bf16"},
        {"normalisation": "half"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_cache_made_with_other_settings_does_not_open(fill, change):
    fill()
    assert fill.open(fill.settings)
    with pytest.raises(UserError, match=r"made with other settings \((encoder|image_size|layer|precision|mean) is"):
        fill.open(fill.settings.model_copy(update=change))


@pytest.mark.parametrize("name", [cache.PROVENANCE_FILE, cache.INDEX_FILE, cache.GRIDS_FILE])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_cache_that_came_in_part_does_not_open(fill, name, damage):
    fill()
    path = fill.out / name
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"dvc repro embed"):
        fill.open()


def test_its_digest_names_images_and_what_made_it(fill, encoder):
    fill()
    first = fill.open().digest
    fill()
    assert fill.open().digest == first
    provenance = json.loads((fill.out / cache.PROVENANCE_FILE).read_text())
    (fill.out / cache.PROVENANCE_FILE).write_text(json.dumps(provenance | {"weights": "other"}))
    other_weights = fill.open().digest
    fill.manifest = Manifest.of(reversed(fill.manifest.images))
    fill()
    assert len({first, other_weights, fill.open().digest}) == 3


def test_the_kept_weights_rebuild_the_encoder(fill):
    from safetensors.torch import load_file

    fill()
    embeddings = fill.open()
    again = encoders.rebuild(embeddings.provenance, load_file(embeddings.weights()), "cache")
    assert again.provenance == fill.encoder.provenance


@pytest.mark.parametrize("harm", ["removed", "cut", "changed"])
def test_weights_that_are_not_whole_are_refused_with_the_way_out(fill, harm):
    from safetensors.torch import load_file, save_file

    fill()
    path = fill.open().weights()
    if harm == "removed":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"encoder.safetensors does not hold .* delete .* `dvc repro embed`"):
        fill.open().weights()


def test_pictures_are_decoded_a_few_batches_ahead_and_no_more(encoder, manifest, data):
    read = ImageBytes(data)
    seen: list[str] = []

    def counted(location: Any) -> bytes:
        seen.append(location.path)
        return read(location)

    batches = [[image] for image in manifest.images]
    for index, pixels in cache.decoded(encoder, batches, counted, 2):
        assert pixels.shape == (1, 3, 64, 64)
        if index == 0:
            time.sleep(0.2)  # time enough to run away
        assert len(seen) <= index + 3
    assert sorted(seen) == sorted(image.location.path for image in manifest.images)
