"""The gallery as the page shows it: a tile per test image, which opens to references and figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from src.app.gallery import Album, Entry
from src.data.sentence import sentence

LABELS = {"semantic_similarity": "similarity"}
"""Shorter names of metrics, for columns."""


def gallery_view(entries: Sequence[Entry], album: Album, model: str, metric: str, total: int) -> str:
    """HTML of a page of the gallery; each tile names the chosen model's caption and figure."""
    if not entries:
        return '<div class="cl-empty"><p>No test image has all of these words. Try fewer.</p></div>'
    tiles = "".join(_tile(entry, album, model, metric) for entry in entries)
    count = (
        f"{total:,} of {len(album.entries):,} test images" if total < len(album.entries) else f"{total:,} test images"
    )
    return f'<p class="cl-small" role="status">{count}</p><div class="cl-gallery">{tiles}</div>'


def _tile(entry: Entry, album: Album, model: str, metric: str) -> str:
    caption = sentence(entry.captions.get(model, ""))
    figure = entry.figures.get(model, {}).get(metric)
    score = "" if figure is None else f"{LABELS.get(metric, metric)} {figure:.2f}"
    alt = escape(sentence(entry.references[0])) if entry.references else "A test image"
    references = "".join(f"<li>{escape(sentence(reference))}</li>" for reference in entry.references)
    return f"""<details class="cl-tile" name="cl-tile">
<summary>
<img src="test-images/{album.digest}/{entry.number}" alt="{alt}" loading="lazy">
<span class="cl-tile-caption cl-{escape(model)}">{escape(caption)}</span>
<span class="cl-small">{score}</span>
</summary>
<div class="cl-inside">
<h4>People say</h4><ul>{references}</ul>
<h4>Models say</h4>
<div class="cl-scroll" tabindex="0" role="region" aria-label="Captions and figures">{_table(entry, album)}</div>
<p class="cl-small">{escape(entry.filename)}</p>
</div></details>"""


def _table(entry: Entry, album: Album) -> str:
    head = "".join(f'<th scope="col">{escape(LABELS.get(metric, metric))}</th>' for metric in album.metrics)
    rows = "".join(_row(entry, album, name) for name in album.models)
    top = f'<tr><th></th><th class="cl-label">caption</th>{head}</tr>'
    return f'<table class="cl-table"><thead>{top}</thead><tbody>{rows}</tbody></table>'


def _row(entry: Entry, album: Album, name: str) -> str:
    figures = entry.figures[name]
    cells = "".join(
        f"<td>{figures[metric]:.2f}</td>" if metric in figures else "<td>–</td>" for metric in album.metrics
    )
    return (
        f'<tr><th scope="row" class="cl-name cl-{escape(name)}">{escape(name)}</th>'
        f'<td class="cl-text">{escape(sentence(entry.captions[name]))}</td>{cells}</tr>'
    )
