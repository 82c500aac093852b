"""From the distributions on disk to what every later stage reads: one manifest, one vocabulary, one report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from src.config import Settings
from src.data import overlap
from src.data.images import ImageBytes
from src.data.integrity import KINDS, Inspection, SoundImage, inspect
from src.data.manifest import SPLITS, ImageRecord, Manifest
from src.data.reading import DataError, Reading, reader
from src.data.vocabulary import UNK, VOCABULARY_FILE, Vocabulary
from src.files import write_json

_NAMED = 10


def prepare(settings: Settings, out_dir: Path, report_path: Path) -> Manifest:
    """Read, check and tokenise `settings.dataset`; write the manifest and the vocabulary to `out_dir`, and the report.

    The same files and settings give the same bytes.

    Raises:
        DataError: a dataset is missing or damaged, an image cannot be decoded while `prepare.on_bad_image` is 'fail',
            or no image is left in one of the splits.
    """
    root = settings.dataset.root
    read = ImageBytes(root)
    readings, inspections, images = [], [], []
    for name in settings.dataset.names:
        reading = reader(name)(root)
        inspection = inspect(reading, read)
        if inspection.damaged and settings.prepare.on_bad_image == "fail":
            raise _bad_images(name, inspection.damaged)
        readings.append(reading)
        inspections.append(inspection)
        images += [_record(name, image) for image in inspection.sound]
    read.close()
    left_out = overlap.left_out(images, settings.dataset.held_out)
    manifest = Manifest.of(image for image in images if not any(image.name in names for names in left_out.values()))
    for split in SPLITS:
        if not manifest.rows(split):
            raise _empty(split, settings.dataset.name, inspections)
    vocabulary = Vocabulary.build(
        (words for image in manifest.split("train") for words in image.words), settings.prepare.min_word_count
    )
    manifest.save(out_dir)
    vocabulary.save(out_dir / VOCABULARY_FILE)
    report = _report(settings, manifest, vocabulary, readings, inspections)
    if len(settings.dataset.names) > 1:
        report["integrity"][settings.dataset.name] = overlap.report(left_out)
    write_json(report_path, report)
    show(report)
    return manifest


def _record(dataset: str, image: SoundImage) -> ImageRecord:
    return ImageRecord(
        name=f"{dataset}/{image.candidate.filename}",
        split=image.split,
        location=replace(image.candidate.location, crc32=image.probe.crc32),
        width=image.probe.width,
        height=image.probe.height,
        captions=tuple(described.caption for described in image.captions),
        words=tuple(described.words for described in image.captions),
        boxes=image.candidate.boxes,
    )


def _bad_images(dataset: str, damaged: Sequence[str]) -> DataError:
    named = "; ".join(damaged[:_NAMED]) + (f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else "")
    return DataError(
        f"{dataset} has {len(damaged)} images that cannot be decoded: {named}. "
        "Repair them, or set prepare.on_bad_image to skip"
    )


def _empty(split: str, dataset: str, inspections: Sequence[Inspection]) -> DataError:
    skipped = [
        f"{len(names):,} {kind.replace('_', ' ')} ({names[0]})"
        for inspection in inspections
        for kind, names in inspection.found.items()
        if names and KINDS[kind][0] == "skipped"
    ]
    return DataError(
        f"{dataset} has no image that can be used in the {split} split; "
        f"skipped were: {', '.join(skipped) or 'none, so no file lists any'}"
    )


def _report(
    settings: Settings,
    manifest: Manifest,
    vocabulary: Vocabulary,
    readings: Sequence[Reading],
    inspections: Sequence[Inspection],
) -> dict[str, Any]:
    splits = {split: manifest.split(split) for split in SPLITS}
    return {
        "dataset": settings.dataset.name,
        "manifest": manifest.digest,
        "images": {split: len(images) for split, images in splits.items()},
        "captions": {split: sum(len(image.captions) for image in images) for split, images in splits.items()},
        "caption_words": {split: _lengths(images, settings.prepare.max_words) for split, images in splits.items()},
        "vocabulary": {
            "size": len(vocabulary),
            "min_word_count": settings.prepare.min_word_count,
            "words_in_train": len({word for image in splits["train"] for words in image.words for word in words}),
        },
        "unknown_words": {split: _unknown_share(images, vocabulary) for split, images in splits.items()},
        "integrity": {
            reading.dataset: inspection.report() for reading, inspection in zip(readings, inspections, strict=True)
        },
        "notes": {reading.dataset: list(reading.notes) for reading in readings},
    }


def _lengths(images: Sequence[ImageRecord], max_words: int) -> dict[str, Any]:
    """How long captions are, in words; `histogram` counts the captions of each length."""
    lengths = sorted(len(words) for image in images for words in image.words)
    return {
        "mean": round(statistics.fmean(lengths), 3),
        "median": statistics.median(lengths),
        "longest": lengths[-1],
        "share_cut_at_max_words": round(sum(length > max_words for length in lengths) / len(lengths), 6),
        "histogram": {str(length): count for length, count in sorted(Counter(lengths).items())},
    }


def _unknown_share(images: Sequence[ImageRecord], vocabulary: Vocabulary) -> float:
    """Share of running words that the vocabulary lacks."""
    ids = [number for image in images for words in image.words for number in vocabulary.encode(words)]
    return round(ids.count(UNK) / len(ids), 6)


def show(report: dict[str, Any]) -> None:
    """Print what `prepare` found: the splits, and every fault with its fate."""
    console = Console()
    table = Table(title=f"{report['dataset']}: vocabulary of {report['vocabulary']['size']:,} words")
    for heading in ("split", "images", "captions", "words a caption", "unknown words"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split in SPLITS:
        table.add_row(
            split,
            f"{report['images'][split]:,}",
            f"{report['captions'][split]:,}",
            f"{report['caption_words'][split]['mean']:.1f}",
            f"{report['unknown_words'][split]:.2%}",
        )
    console.print(table)
    faults = Table(title="what was found wrong, or odd")
    for heading in ("dataset", "kind", "count", "fate", "for example"):
        faults.add_column(heading, justify="right" if heading == "count" else "left", overflow="fold")
    for dataset, kinds in report["integrity"].items():
        for kind, finding in kinds.items():
            if finding["count"]:
                example = escape(finding["examples"][0])
                faults.add_row(dataset, kind.replace("_", " "), f"{finding['count']:,}", finding["fate"], example)
    if faults.row_count:
        console.print(faults)
    for dataset, notes in report["notes"].items():
        for note in notes:
            console.print(f"{dataset}: {note}", highlight=False)
