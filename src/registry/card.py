"""The model card: what a registered model is, what it was measured at, what it is good for and how to make it again.

After M. Mitchell et al., "Model Cards for Model Reporting" (2019), as far as the pipeline knows the facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from src.models.baseline import ARCHITECTURE, TINY
from src.registry.evaluated import Evaluated

PHOTOGRAPHS = (
    "Photographs of everyday scenes like those of the data set: people, animals, vehicles, things outdoors and in."
)
DRAWINGS = (
    "Scenes as the project draws them. It has never seen a photograph: train on Flickr8k, Flickr30k or COCO for those."
)

LIMITS = (
    "One English sentence an image. It names what it has seen often, also where that is not in the picture; counts, "
    "colours and positions are wrong more often than objects. Nothing that matters may rest on an unread caption, "
    "least of all a statement about a person."
)


def card(model: Evaluated, tags: Mapping[str, str]) -> str:
    """Markdown. `tags` are those of the version."""
    settings = model.settings
    drawn = settings.dataset.names == ("sample",)
    return "\n".join(
        [
            f"# {model.name} captions images ({settings.dataset.name})",
            "",
            _what(model),
            "",
            "## Data",
            "",
            f"{_data(model)} Images, captions and split: `{model.dataset}`.",
            "",
            "## Figures",
            "",
            *_figures(model),
            "",
            f"{_search(model)} Fractions, as `pycocoevalcap` scales them.",
            "",
            "## Use and limits",
            "",
            DRAWINGS if drawn and (model.recurrent or model.encoder == TINY) else PHOTOGRAPHS,
            "",
            LIMITS,
            "",
            "## Where it comes from",
            "",
            *_origin(tags),
            "",
            "`python -m src.registry reproduce VERSION` checks commit and data out, trains again and compares.",
            "",
        ]
    )


def _data(model: Evaluated) -> str:
    name = model.settings.dataset.name
    if model.bundle is None:
        return f"Used as it was published: it has learnt nothing of **{name}**, whose test images it was measured on."
    return (
        f"Trained on the training images of **{name}**, chosen on its validation images, measured on its test images."
    )


def _what(model: Evaluated) -> str:
    settings = model.settings
    if not model.recurrent:
        kind = "a small one, trained from nothing" if model.encoder == TINY else f"checkpoint `{model.encoder}`"
        if model.bundle is not None and model.encoder != TINY:
            own = settings.baseline
            adapters = f", by adapters of rank {own.lora_rank}" if own.lora_rank else ""
            kind += f", fine-tuned on {settings.dataset.name} for {own.epochs} epochs{adapters}"
        what = "BLIP (Li et al. 2022)" if model.cell == ARCHITECTURE else f"A {model.cell} model in BLIP's place"
        return f"{what}, {kind}: the baseline that LSTM and GRU are held against. Content `{model.digest}`."
    members = settings.train.members
    decoder = f"{'An' if model.name == 'LSTM' else 'A'} {model.name} decoder"
    if members > 1:
        decoder = f"The mean of {members} {model.name} decoders' probabilities, word by word: each"
    return (
        f"{decoder} ({settings.model.hidden_size} units) with Bahdanau attention over the grid of "
        f"`{model.encoder}`, trained by `stages.train` with seed {settings.seed}. Content `{model.digest}`."
    )


def _search(model: Evaluated) -> str:
    if not model.recurrent:
        search = model.settings.baseline
        asked = f", asked or begun with {search.prompt!r}" if search.prompt else ""
        return f"Captions were searched for with a beam of {search.beams}, at most {search.max_words} tokens{asked}."
    decode = model.settings.decode
    ranked = {
        "none": "",
        "consensus": ", and the one chosen that has most in common with all of the beam",
        "expected": ", and the one chosen that has most in common with what may be expected of such an image",
        "baseline": ", and test captions chosen with BLIP's likelihood, which serving leaves out",
    }[decode.rerank]
    return (
        f"Captions were searched for with a beam of {decode.beam_size}, at most {decode.max_words} words, length "
        f"penalty {decode.length_penalty:g}{ranked}."
    )


def _figures(model: Evaluated) -> Iterator[str]:
    yield "| split | figure | value | 95% interval |" if model.intervals else "| split | figure | value |"
    yield "|---|---|---|---|" if model.intervals else "|---|---|---|"
    for name, value in model.figures.items():
        split, _, metric = name.partition("_")
        row = f"| {'validation' if split == 'val' else split} | {metric} | {value:.4f} |"
        if model.intervals:
            interval = model.intervals.get(metric) if split == "test" else None
            row += f" {interval[0]:.4f} to {interval[1]:.4f} |" if interval else " |"
        yield row


def _origin(tags: Mapping[str, str]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    labels = {
        "mlflow.source.git.commit": "commit",
        "git.uncommitted_code": "code that no commit has",
        "dvc.experiment": "DVC experiment",
        "run_id": "MLflow run",
        "embeddings.digest": "features",
        "cpu": "processor",
        "gpu": "GPU",
        "torch": "PyTorch",
    }
    for tag, label in labels.items():
        if tag in tags:
            yield f"| {label} | {tags[tag]} |"
