"""How models speak against how people do: length of captions, the commonest words, and what is said too often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.visualize.style import HEADING, INK, QUIET, RULE, SMALL, WIDTH, colour, styled

HEIGHT = 6.2
WORDS, ODD = 20, 10
"""Common words that are shown, and words that are said too often or too seldom, of each."""
PEOPLE = "people"

Captions = Sequence[Sequence[str]]
"""As words."""


@styled()
def language_figure(models: Mapping[str, Captions], people: Captions) -> Figure:
    """Three charts: how long captions are, how often common words are said, and where the first model differs most.

    Args:
        models: model -> its captions of the test images, at least one model.
        people: all references of the same images.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    first = next(iter(models))
    figure.text(0.025, 0.97, "How models speak, and how people do", size=HEADING, weight="bold", va="top")
    left = 0.025
    for model, said in ((PEOPLE, people), *models.items()):
        mean, used = np.mean([len(words) for words in said]), len({word for words in said for word in words})
        text = f"{model}: {mean:.1f} words, {used:,} different"
        shade = QUIET if model == PEOPLE else colour(model)
        written = figure.text(left, 0.905, text, size=SMALL, weight="bold", color=shade, va="top")
        left += written.get_window_extent().width / figure.bbox.width + 0.015
    lengths = figure.add_axes((0.045, 0.09, 0.275, 0.68))
    common = figure.add_axes((0.425, 0.09, 0.235, 0.68))
    odd = figure.add_axes((0.755, 0.09, 0.22, 0.68))
    _lengths(lengths, models, people)
    _common(common, models, people)
    _odd(odd, first, models[first], people)
    for axes in (lengths, common, odd):
        axes.tick_params(length=0)
    return figure


def shares(captions: Captions) -> dict[str, float]:
    """Word -> share of captions that have it."""
    counts = Counter(word for words in captions for word in set(words))
    return {word: count / len(captions) for word, count in counts.items()}


def _lengths(axes: Axes, models: Mapping[str, Captions], people: Captions) -> None:
    longest = int(np.percentile([len(words) for words in people], 99.5)) + 1
    longest = max([longest, *(len(words) for said in models.values() for words in said)])

    def distribution(said: Captions) -> list[float]:
        counts = Counter(len(words) for words in said)
        return [counts[length] / len(said) for length in range(longest + 1)]

    axes.bar(range(longest + 1), distribution(people), width=0.86, color=RULE)
    for model, said in models.items():
        axes.plot(range(longest + 1), distribution(said), color=colour(model))
    axes.set_title("Words in a caption", pad=18)
    axes.text(0, 1.015, "share of captions; people in grey", transform=axes.transAxes, size=SMALL, color=QUIET)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def _common(axes: Axes, models: Mapping[str, Captions], people: Captions) -> None:
    theirs = shares(people)
    words = sorted(theirs, key=lambda word: (-theirs[word], word))[:WORDS]
    axes.barh(range(len(words)), [theirs[word] for word in words], height=0.78, color=RULE)
    for number, (model, said) in enumerate(models.items()):
        own, shift = shares(said), 0.2 * (number - (len(models) - 1) / 2)  # dots of equal shares stay apart
        axes.plot(
            [own.get(word, 0.0) for word in words], [place + shift for place in range(len(words))], "o",
            color=colour(model), markersize=5.5, markeredgecolor="white", markeredgewidth=0.8, clip_on=False,
        )  # fmt: skip
    axes.set_yticks(range(len(words)), words, color=INK, size=SMALL)
    axes.set_ylim(len(words) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_title("The commonest words", pad=18)
    axes.text(0, 1.015, "share of captions; people in grey", transform=axes.transAxes, size=SMALL, color=QUIET)


def _odd(axes: Axes, model: str, said: Captions, people: Captions) -> None:
    own, theirs = shares(said), shares(people)
    more = {word: own.get(word, 0.0) - theirs.get(word, 0.0) for word in own.keys() | theirs.keys()}
    ranked = sorted(more, key=lambda word: (-more[word], word))
    often = [word for word in ranked[:ODD] if more[word] > 0]
    seldom = [word for word in ranked[-ODD:] if more[word] < 0 and word not in often]
    words = [*often, *seldom]
    axes.barh(range(len(words)), [more[word] for word in words], height=0.7, color=colour(model))
    axes.axvline(0, color=QUIET, linewidth=1)
    axes.set_yticks(range(len(words)), words, color=INK, size=SMALL)
    axes.set_ylim(len(words) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:+.0f}".replace("-", "−") if share else "0")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_title(f"Where the {model} differs", pad=18)
    axes.text(0, 1.015, "more or fewer captions in 100", transform=axes.transAxes, size=SMALL, color=QUIET)
