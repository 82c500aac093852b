"""Every metric of one model's captions, tokenised once and scored in one pass for the corpus and for each image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from src.config import Evaluate
from src.metrics import coco, ptb
from src.metrics.meteor import Meteor
from src.metrics.scores import Measured, Scores
from src.metrics.similarity import DEFAULT, semantic_similarity

METRICS: tuple[str, ...] = Evaluate().metrics
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr", "METEOR", "ROUGE", "semantic_similarity")
"""Of the figures, in the order in which they are written and shown."""
JAVA_TIMEOUT = Evaluate().java_timeout


def evaluate(
    references: Mapping[str, Sequence[str]],
    captions: Mapping[str, str],
    metrics: Collection[str] = METRICS,
    glove: str | Path = DEFAULT,
    java_timeout: float = JAVA_TIMEOUT,
) -> Scores:
    """Score a model's captions.

    Args:
        references: image -> what annotators wrote, as they wrote it.
        captions: image -> what the model says.
        metrics: those of `METRICS` that are wanted; BLEU brings BLEU-1 to BLEU-4.
        glove: 'default', or a GloVe text file for the semantic similarity.
        java_timeout: seconds that the tokeniser, and then METEOR, may take.

    Returns:
        the wanted ones of `NAMES`, in that order.

    Raises:
        ValueError: there is no image, the two sets of images differ, an image has no reference (they are named), a
            metric is unknown, or no reference has a word.
        JavaError: a Java program is missing, failed, or took too long.
    """
    _check(references, captions, metrics)
    images = list(references)
    with ExitStack() as stack:
        # METEOR loads its tables while the rest is at work.
        meteor = stack.enter_context(Meteor(java_timeout)) if "METEOR" in metrics else None
        truth, said = _tokenise(
            [references[image] for image in images], [captions[image] for image in images], java_timeout
        )
        measured: dict[str, Measured] = {}
        if "BLEU" in metrics:
            measured |= coco.bleu(truth, said)
        if "CIDEr" in metrics:
            measured["CIDEr"] = coco.cider(truth, said)
        if "ROUGE" in metrics:
            measured["ROUGE"] = coco.rouge(truth, said)
        if "semantic_similarity" in metrics:
            measured["semantic_similarity"] = semantic_similarity(truth, said, glove)
        if meteor:
            measured["METEOR"] = meteor.score(truth, said)
    measured = {name: measured[name] for name in NAMES if name in measured}
    return Scores(
        overall={name: figures.overall for name, figures in measured.items()},
        per_image={
            image: {name: figures.per_image[row] for name, figures in measured.items()}
            for row, image in enumerate(images)
        },
    )


def _tokenise(
    references: Sequence[Sequence[str]], captions: Sequence[str], timeout: float
) -> tuple[list[list[str]], list[str]]:
    """Tokenise all references and captions in one start of Java, and give them back in their places."""
    flat = [reference for of_image in references for reference in of_image]
    tokens = iter(ptb.tokenise([*flat, *captions], timeout))
    truth = [list(islice(tokens, len(of_image))) for of_image in references]
    return truth, list(tokens)


def _check(references: Mapping[str, Sequence[str]], captions: Mapping[str, str], metrics: Collection[str]) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics are {', '.join(metrics) or 'none'}: choose from {', '.join(METRICS)}")
    if not references:
        raise ValueError("there are no images to evaluate")
    if silent := references.keys() - captions.keys():
        raise ValueError(f"{len(silent)} images have references but no caption: {_named(silent)}")
    if extra := captions.keys() - references.keys():
        raise ValueError(f"{len(extra)} images have a caption but are not in the references: {_named(extra)}")
    if bare := [image for image, of_image in references.items() if not of_image]:
        raise ValueError(f"{len(bare)} images have no references: {_named(bare)}")


def _named(images: Iterable[str], at_most: int = 5) -> str:
    names = sorted(images)
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")
