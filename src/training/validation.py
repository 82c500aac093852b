"""The validation split: loss and greedy CIDEr, each image counted once by one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int

from src.data.manifest import Manifest
from src.metrics.cider import CiderScorer
from src.portions import Portions
from src.processes import Group
from src.training.batches import EncodedImages, P, Reader, read_ahead

if TYPE_CHECKING:
    from src.training.learner import Teaching

T = TypeVar("T")


class Validation(Generic[P]):
    """Measures a model as often as wanted.

    Args:
        images: the validation split as the model reads it.
        batch_images: computed at once, fewer where GPU memory runs out.
    """

    def __init__(self, images: EncodedImages[P], manifest: Manifest, batch_images: int, group: Group) -> None:
        self.images, self.group = images, group
        self.portions = Portions(batch_images, "use bf16 or a smaller model")
        self.references = CiderScorer([image.words for image in manifest.split("val")]) if len(images) else None

    def measure(self, teaching: Teaching[P], read: Reader) -> dict[str, float]:
        """Cross-entropy in nats a word, and CIDEr, of the model as it is now.

        Args:
            read: what the model looks at, of rows of the manifest.

        Raises:
            UserError: one image is too much for the GPU's memory.
        """
        teaching.eval()
        nats, captions = 0.0, list[tuple[str, ...]]()
        for lost, said in self._each(teaching.examine, read):
            nats += lost
            captions += said
        total, words = self.group.sum(nats, self.images.count(self._own)[0])
        return {"val_loss": total / words, "val_CIDEr": self._cider(captions)}

    def cider(self, say: Callable[[P], Sequence[tuple[str, ...]]], read: Reader) -> float:
        """CIDEr of what `say` says of batches of images."""
        return self._cider([caption for said in self._each(say, read) for caption in said])

    @property
    def _own(self) -> Int[np.ndarray, " image"]:
        """This process' share."""
        return np.arange(len(self.images))[self.group.rank :: self.group.size]

    def _each(self, look: Callable[[P], T], read: Reader) -> Iterator[T]:
        own, step = self._own, self.portions.size
        order = [own[start : start + step] for start in range(0, len(own), step)]
        for chosen, batch in zip(order, read_ahead(self.images, order, read, self.group.device), strict=True):
            yield from self.portions.of(len(chosen), partial(self._found, look, chosen, batch))

    def _found(self, look: Callable[[P], T], chosen: Int[np.ndarray, " image"], batch: P, some: slice) -> T:
        """What `look` finds in some of a batch that was read."""
        if some != slice(0, len(chosen)):
            batch = self.images.part(batch, chosen, some)
        with torch.inference_mode():  # not round a yield: whoever takes the results would be in it too
            return look(batch)

    def _cider(self, own: Sequence[Sequence[str]]) -> float:
        captions: list[Sequence[str]] = [()] * len(self.images)
        for rank, part in enumerate(self.group.gather(own)):
            captions[rank :: self.group.size] = part
        assert self.references is not None
        return self.group.from_main(float(self.references.score(captions).mean()) if self.group.is_main else 0.0)
