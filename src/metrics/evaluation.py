"""Every metric of every model's captions, tokenised once and scored in one pass for the corpus and for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, get_args

import torch

from src.config import Evaluate, Metric
from src.metrics import coco, ptb
from src.metrics.bertscore import BertScore
from src.metrics.meteor import Meteor
from src.metrics.scores import Measured, Scores, Unscorable
from src.metrics.similarity import semantic_similarity
from src.metrics.spice import SpiceAbsent, spice

METRICS: tuple[str, ...] = get_args(Metric)
NAMES = (
    *(f"BLEU-{size}" for size in range(1, coco.LONGEST_NGRAM + 1)),
    *(metric for metric in METRICS if metric != "BLEU"),
)
"""Of the figures, in the order in which they are written and shown."""

References = Mapping[str, Sequence[str]]
"""Image -> what annotators wrote, as they wrote it."""
Captions = Mapping[str, str]
"""Image -> what a model says."""


def evaluate(
    references: References, captions: Captions, settings: Evaluate | None = None, device: torch.device | str = "cpu"
) -> Scores:
    """`evaluate_all` for a single model."""
    return evaluate_all(references, {"": captions}, settings, device)[""]


def evaluate_all(
    references: References,
    models: Mapping[str, Captions],
    settings: Evaluate | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Scores]:
    """Score the captions of several models of the same images; what depends on the references is done once.

    Args:
        settings: which metrics are wanted, and with what they are worked out; the defaults of params.yaml.
        device: where BERTScore's language model computes.

    Returns:
        for each model the wanted ones of `NAMES`, in that order. SPICE is left out, with a note, where it cannot run.

    Raises:
        Unscorable: there is no image, a model's images are not those of the references, an image has no reference (they
            are named), no reference has a word, or SPICE is all that is wanted and cannot run.
        UserError: what a metric needs is missing: a GloVe file, a language model.
        JavaError: a Java program is missing, failed, or took too long.
    """
    settings = settings or Evaluate()
    _check(references, models)
    images = list(references)
    wanted, timeout = settings.metrics, settings.java_timeout
    notes: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        # METEOR loads its tables while the rest is at work.
        meteor = stack.enter_context(Meteor(timeout)) if "METEOR" in wanted else None
        truth, said = _tokenise(
            [references[image] for image in images],
            {model: [captions[image] for image in images] for model, captions in models.items()},
            timeout,
        )
        measured: dict[str, dict[str, Measured]] = {model: {} for model in models}
        for model, captions in said.items():
            if "BLEU" in wanted:
                measured[model] |= coco.bleu(truth, captions)
            if "CIDEr" in wanted:
                measured[model]["CIDEr"] = coco.cider(truth, captions)
            if "ROUGE" in wanted:
                measured[model]["ROUGE"] = coco.rouge(truth, captions)
            if "semantic_similarity" in wanted:
                measured[model]["semantic_similarity"] = semantic_similarity(truth, captions, settings.glove)
            if meteor:
                measured[model]["METEOR"] = meteor.score(truth, captions)
    if "BERTScore" in wanted:
        bertscore = BertScore(settings.bertscore_model, device)
        notes["BERTScore"] = bertscore.note
        for model, figures in bertscore.score(truth, said).items():
            measured[model]["BERTScore"] = figures
    if "SPICE" in wanted:
        try:
            for model, figures in zip(models, spice(truth, list(said.values()), timeout), strict=True):
                measured[model]["SPICE"] = figures
        except SpiceAbsent as reason:
            if not any(measured.values()):
                raise Unscorable(f"SPICE is the only metric asked for (evaluate.metrics), and {reason}") from reason
            notes["SPICE"] = {"absent": str(reason)}
    return {model: _scores(images, of_model, notes) for model, of_model in measured.items()}


def _scores(images: Sequence[str], measured: Mapping[str, Measured], notes: Mapping[str, Mapping[str, Any]]) -> Scores:
    ordered = {name: measured[name] for name in NAMES if name in measured}
    return Scores(
        overall={name: figures.overall for name, figures in ordered.items()},
        per_image={
            image: {name: figures.per_image[row] for name, figures in ordered.items()}
            for row, image in enumerate(images)
        },
        sums={name: figures.sums for name, figures in ordered.items()},
        notes=notes,
    )


def _tokenise(
    references: Sequence[Sequence[str]], models: Mapping[str, Sequence[str]], timeout: float
) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Tokenise all references and captions in one start of Java, and give them back in their places."""
    flat = [text for texts in (*references, *models.values()) for text in texts]
    tokens = iter(ptb.tokenise(flat, timeout))
    truth = [list(islice(tokens, len(of_image))) for of_image in references]
    return truth, {model: list(islice(tokens, len(captions))) for model, captions in models.items()}


def _check(references: References, models: Mapping[str, Captions]) -> None:
    if not references:
        raise Unscorable("there are no images to evaluate")
    if bare := [image for image, of_image in references.items() if not of_image]:
        raise Unscorable(f"{len(bare)} images have no references: {_named(bare)}")
    for model, captions in models.items():
        whose = f" of {model}" if model else ""
        if silent := references.keys() - captions.keys():
            raise Unscorable(f"{len(silent)} images have references but no caption{whose}: {_named(silent)}")
        if extra := captions.keys() - references.keys():
            raise Unscorable(
                f"{len(extra)} images have a caption{whose} but are not in the references: {_named(extra)}"
            )


def _named(images: Iterable[str], at_most: int = 5) -> str:
    names = sorted(images)
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")
