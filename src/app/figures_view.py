"""The pictures of `outputs/figures/`, sorted into what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.app.captions_view import note_view
from src.app.progress_view import figure_view

MAPS = ("map-", "neighbours")
"""How names of maps of the embedding space begin."""
LOOKS = ("attention",)
FIRST = ("captions",)


def maps(figures: Path) -> list[str]:
    """Names of the maps of the embedding space, without suffix."""
    return [name for name in _names(figures) if name.startswith(MAPS)]


def others(figures: Path) -> list[str]:
    """Names of all other figures: the contact sheet first, attention maps last."""
    found = [name for name in _names(figures) if not name.startswith(MAPS)]
    return sorted(found, key=lambda name: (name not in FIRST, name.startswith(LOOKS), name))


def figures_view(names: Sequence[str], missing: str) -> str:
    """HTML of the figures, or what to do where there is none."""
    if not names:
        return note_view(missing)
    return "".join(figure_view(f"figures/{name}.png", name.replace("-", " ").capitalize()) for name in names)


def _names(figures: Path) -> list[str]:
    return sorted(path.stem for path in figures.glob("*.png"))
