"""The validation split: loss and greedy CIDEr, each image counted once by one process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.config import Settings
from src.data.manifest import Manifest
from src.data.vocabulary import Vocabulary
from src.decoding.describe import describe
from src.metrics.cider import CiderScorer
from src.processes import Group
from src.training.batches import CaptionedImages, Reader, read_ahead
from src.training.objectives import TeacherForcing


class Validation:
    """Measures a decoder as often as wanted."""

    def __init__(self, settings: Settings, manifest: Manifest, vocabulary: Vocabulary, group: Group) -> None:
        self.images = CaptionedImages(
            manifest.split("val"), manifest.rows("val"), vocabulary, settings.prepare.max_words
        )
        self.vocabulary, self.group = vocabulary, group
        self.search = settings.decode.model_copy(update={"beam_size": 1, "block_ngrams": 0})
        self.references = CiderScorer([image.words for image in manifest.split("val")]) if len(self.images) else None

    def measure(self, teaching: TeacherForcing, read: Reader) -> dict[str, float]:
        """Cross-entropy in nats a word, and CIDEr, of the decoder as it is now.

        Args:
            read: grids, or pixels for an encoder that learns, of rows of the manifest.
        """
        teaching.eval()
        own = np.arange(len(self.images))[self.group.rank :: self.group.size]
        step = self.search.batch_images
        order = [own[start : start + step] for start in range(0, len(own), step)]
        nats, captions = 0.0, list[tuple[str, ...]]()
        with torch.inference_mode():
            for batch in read_ahead(self.images, order, read, self.group.device):
                grids: Float[Tensor, "image region feature"] = teaching.grids(batch)
                nats += float(teaching(batch.with_grids(grids)).nats)
                found = describe(teaching.decoder, self.vocabulary, grids, self.search)
                captions += [hypotheses[0].words for hypotheses in found]
        total, words = self.group.sum(nats, self.images.count(own)[0])
        return {"val_loss": total / words, "val_CIDEr": self._cider(captions)}

    def _cider(self, own: Sequence[Sequence[str]]) -> float:
        captions: list[Sequence[str]] = [()] * len(self.images)
        for rank, part in enumerate(self.group.gather(own)):
            captions[rank :: self.group.size] = part
        assert self.references is not None
        return self.group.from_main(float(self.references.score(captions).mean()) if self.group.is_main else 0.0)
