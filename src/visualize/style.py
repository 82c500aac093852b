"""How every figure looks: one colour per model, one type size per role, and the same bytes for the same data."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from src.files import write_atomically

MODEL_COLOURS = {"LSTM": "#0072B2", "GRU": "#D55E00", "BLIP": "#008F67"}
"""Okabe and Ito's palette, told apart by colour-blind readers too; the green a little darker, to be read as text."""

CLUSTER_COLOURS = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933")
"""Of clusters, the largest first: Tol's muted scheme, none of them a model's."""

INK, QUIET, RULE = "#1B1F24", "#646B73", "#D5D9DE"
"""Colours of what is said, of what is said beside it, and of lines that only guide the eye."""

FONT = "DejaVu Sans"
"""Comes with matplotlib: the same glyphs on every machine."""
LONGEST_WORD = 20
"""Letters; a longer word may be broken anywhere."""

WIDTH = 11.0
"""Inches that a figure fills: 1,320 pixels, as wide as a page shows them without shrinking."""
DPI = 120
HEADING, LABEL, TEXT, SMALL = 15.0, 12.0, 10.0, 9.0
"""Points of a figure's title, of what names a panel, of text in it, and of ticks and notes."""

_RULES = {
    "font.family": FONT,
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # captions hold dollar signs
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": SMALL,
    "axes.titlesize": LABEL,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.0,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
}


def colour(model: str) -> str:
    """The colour of a model, the same in every figure.

    Raises:
        ValueError: no colour was chosen for that model.
    """
    if model not in MODEL_COLOURS:
        raise ValueError(
            f"no colour is chosen for {model!r}, only for {', '.join(MODEL_COLOURS)}: add it to {__name__}"
        )
    return MODEL_COLOURS[model]


@contextmanager
def styled() -> Iterator[None]:
    """Figures made in the block (or in a function it decorates) look as this file says, whatever matplotlibrc says."""
    with matplotlib.style.context(_RULES, after_reset=True):
        yield


@styled()
def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, by the Agg renderer; the same figure gives the same bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": "Captionlab"})
    with write_atomically(path) as file:
        file.write(picture.getvalue())


def wrapped(text: str, inches: float, points: float, lines: int, *, bold: bool = False) -> str:
    """`text` broken to fit a column, cut with an ellipsis after so many `lines`."""
    font = FontProperties(family=FONT, size=points, weight="bold" if bold else "normal")

    def fits(line: str) -> bool:
        wide, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
        return bool(wide <= inches * 72)

    broken: list[str] = []
    for word in text.split():
        for part in textwrap.wrap(word, LONGEST_WORD):
            if broken and fits(f"{broken[-1]} {part}"):
                broken[-1] += f" {part}"
            else:
                broken.append(part)
    if len(broken) > lines:
        last = broken[lines - 1]
        while last and not fits(f"{last} …"):
            last = last[:-1].rstrip()
        broken[lines - 1 :] = [f"{last} …".strip()]
    return "\n".join(broken)


def height(text: str, points: float) -> float:
    """Inches that lines of text take, with some air below; 0 for no text."""
    return (len(text.splitlines()) * 1.25 + 0.35) * points / 72 if text else 0.0
