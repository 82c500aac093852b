"""A split captioned by the baseline, each image by one process, from wherever an earlier attempt was stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from src.ahead import ahead
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord
from src.models.baseline import Baseline
from src.portions import Portions
from src.processes import Group
from src.training.resume import ResumeFolder, SavedState
from src.training.stopping import StopRequest

SAVE_SECONDS = 10.0
"""Between two saved states: the most a crash can cost."""
REMEDY = "use baseline.precision=bf16, a smaller baseline.beam_size or a smaller checkpoint"


class Captioning:
    """The captions so far: what survives a crash.

    Attributes:
        captions: by image name.
        run_id: of the MLflow run that they belong to.
        seconds: spent on them, over all attempts.
    """

    def __init__(self, folder: ResumeFolder | None, group: Group) -> None:
        self.folder, self.group = folder, group
        state = group.from_main(folder.load() if folder else None)
        facts = state.facts if state else {}
        self.captions: dict[str, str] = dict(facts.get("captions", {}))
        self.run_id: str = facts.get("run_id", "")
        self.seconds: float = facts.get("seconds", 0.0)

    def save(self) -> None:
        if self.folder is not None:
            facts = {"captions": self.captions, "run_id": self.run_id, "seconds": self.seconds}
            self.folder.save(len(self.captions), SavedState({}, facts))

    def complete(self, baseline: Baseline, images: Sequence[ImageRecord], root: Path, stop: StopRequest) -> None:
        """Caption the images that have no caption yet.

        Raises:
            KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
            UserError: one picture is too much for the GPU's memory.
        """
        group, size = self.group, baseline.settings.batch_images
        missing = [image for image in images if image.name not in self.captions]
        own = missing[group.rank :: group.size]
        rounds = -(-len(missing) // (size * group.size))  # the same on every process: each ends with an exchange
        batches = [own[start * size : (start + 1) * size] for start in range(rounds)]
        bar = tqdm(
            total=len(images),
            initial=len(images) - len(missing),
            desc=f"caption ({baseline.settings.checkpoint})",
            unit="img",
            disable=not group.is_main,
        )
        portions, read = Portions(size, REMEDY), ImageBytes(root)

        def load(record: ImageRecord) -> Image.Image:
            return decode(read(record.location), record.name)

        began = saved = time.perf_counter()
        before = self.seconds
        with bar:
            for batch, pictures in zip(batches, ahead(batches, load, baseline.settings.workers, "decode"), strict=True):
                texts = _texts(baseline, pictures, portions)
                said = dict(zip([image.name for image in batch], texts, strict=True))
                parts = group.gather((said, bool(stop)))
                self.captions |= {name: text for part, _ in parts for name, text in part.items()}
                self.seconds = before + time.perf_counter() - began
                bar.update(sum(len(part) for part, _ in parts))
                stopping = any(stopped for _, stopped in parts)
                if stopping or time.perf_counter() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.perf_counter()
                if stopping:
                    raise stop.grant()
        self.save()


def _texts(baseline: Baseline, pictures: Sequence[Image.Image], portions: Portions) -> list[str]:
    found = portions.of(len(pictures), lambda some: baseline.caption(pictures[some]))
    return [text for texts in found for text in texts]
