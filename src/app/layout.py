"""The page itself: tabs of Gradio components, which show what the other modules find."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gradio as gr

from src.app import captions_view, figures_view, progress_view
from src.app.answers import AT_ONCE, MOST_ALTERNATIVES, MOST_BEAMS, Turns, answers
from src.app.captions_view import note_view, refusal_view
from src.app.comparison import comparison
from src.app.comparison_view import comparison_view, runs_view
from src.app.gallery import Album, Albums, Order, page
from src.app.gallery_view import gallery_view
from src.app.live import LIVE
from src.app.pictures import RefusedError, read
from src.app.runs import Histories
from src.app.speakers import NOBODY, Speakers
from src.app.trials import Studies
from src.app.upload import fetch_nothing, upload
from src.errors import UserError
from src.places import Places

TITLE = "Captionlab"
MOST_WAITING = 200
"""Visitors that may wait for captions; later ones are told that the page is busy."""
AS_EVALUATED = 0
"""In place of a beam size: each model's own."""
TICK_SECONDS = 3.0
"""Between two looks at runs that train."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What visitors share."""

    places: Places
    speakers: Speakers
    turns: Turns
    albums: Albums
    histories: Histories
    studies: Studies

    @classmethod
    def of(cls, places: Places) -> Shown:
        return cls(places, Speakers(places), Turns(), Albums(places), Histories(), Studies())


def captioned(shown: Shown, path: str | None, beam_size: float, alternatives: float) -> str:
    """HTML of the captions of a visitor's file; of a refusal, where it cannot be captioned."""
    if not path:
        return captions_view.EMPTY
    cast_now = shown.speakers.now()
    if not cast_now.speakers:
        return "".join(note_view(note) for note in cast_now.notes or (NOBODY,))
    chosen = None if beam_size == AS_EVALUATED else int(beam_size)
    with shown.turns.taken():  # a small file may hold so many pixels that a crowd of them would fill the memory
        try:
            picture = read(Path(path))
        except RefusedError as error:
            return refusal_view(str(error))
        found = answers(picture, cast_now, chosen, int(alternatives))
    return captions_view.captions_view(picture, found, cast_now.notes)


def browsed(shown: Shown, query: str, order: Order, model: str, metric: str, number: float) -> tuple[str, int, int]:
    """HTML of a page of the gallery, its number, and how many pages there are."""
    try:
        album = shown.albums.now()
    except UserError as error:
        return note_view(str(error)), 1, 1
    model = model if model in album.models else album.models[0]
    metric = metric if metric in album.metrics else album.metrics[0]
    found = album.found(query or "", order, model, metric)
    entries, number, pages = page(found, int(number or 1))
    return gallery_view(entries, album, model, metric, len(found)), number, pages


def build(shown: Shown) -> gr.Blocks:
    """The page, not served yet."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.HTML(
            f'<header class="cl-header"><h1>{TITLE}</h1><p>What a CNN and an LSTM or a GRU with attention say of a '
            "picture, beside BLIP, and how they came to it.</p></header>"
        )
        with gr.Tabs(elem_id="rooms", overflow_behavior="wrap"):
            with gr.Tab("Caption", id="caption"):
                _caption(shown)
            with gr.Tab("Live", id="live"):
                gr.HTML(LIVE)
            with gr.Tab("Gallery", id="gallery") as gallery:
                _gallery(shown, gallery)
            with gr.Tab("Experiments", id="experiments") as experiments:
                _experiments(shown, experiments)
    for block in blocks.blocks.values():
        fetch_nothing(block)
    return blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=AT_ONCE)


def _caption(shown: Shown) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            picture = upload(
                label="Picture", alt_text="The picture that you chose", sources=["upload", "clipboard", "webcam"],
                height=280, elem_id="picture",
            )  # fmt: skip
            with gr.Accordion("How to search", open=False, elem_id="search"):
                beams = gr.Dropdown(
                    [("as evaluated", AS_EVALUATED), *((str(size), size) for size in range(1, MOST_BEAMS + 1))],
                    value=AS_EVALUATED, label="Beam size", elem_id="beams",
                    info="How many unfinished captions are kept while a model searches; 1 is greedy. As evaluated, "
                    "each model searches as it did for its figures.",
                )  # fmt: skip
                alternatives = gr.Slider(
                    1, MOST_ALTERNATIVES, value=3, step=1, label="Captions of each model", elem_id="alternatives",
                    info="Of those that the beam found, best first.",
                )  # fmt: skip
        with gr.Column(scale=5, min_width=320):
            result = gr.HTML(captions_view.EMPTY, elem_id="result")

    def caption(path: str | None, beam_size: float, alternatives: float) -> str:
        return captioned(shown, path, beam_size, alternatives)

    gr.on(
        [picture.change, beams.input, alternatives.release], caption, [picture, beams, alternatives], result,
        api_name="caption", trigger_mode="always_last", show_progress="minimal",
    )  # fmt: skip


def _gallery(shown: Shown, tab: gr.Tab) -> None:
    album = _album(shown)
    models = list(album.models) if album else ["LSTM"]
    metrics = list(album.metrics) if album else ["CIDEr"]
    with gr.Row(elem_classes="cl-controls"):
        query = gr.Textbox(label="Search", placeholder="dog beach", scale=3, min_width=200, elem_id="query")
        order = gr.Dropdown(["best first", "worst first", "file name"], label="Order", min_width=130, elem_id="order")
        model = gr.Dropdown(models, label="Model", min_width=110, elem_id="model")
        metric = gr.Dropdown(metrics, label="Metric", min_width=130, elem_id="metric")
    tiles = gr.HTML(elem_id="tiles")
    number = gr.Slider(1, 2, value=1, step=1, label="Page", elem_id="page", visible=False)

    def search(query: str, order: str, model: str, metric: str) -> tuple[str, Any]:
        view, at, pages = browsed(shown, query, cast(Order, order), model, metric, 1)
        return view, gr.Slider(maximum=max(2, pages), value=at, visible=pages > 1)

    def turn(query: str, order: str, model: str, metric: str, number: float) -> str:
        return browsed(shown, query, cast(Order, order), model, metric, number)[0]

    def enter(query: str, order: str, model: str, metric: str) -> tuple[str, Any, Any, Any]:
        # Another model may have been evaluated since the page was built.
        found = _album(shown)
        names, measured = (list(found.models), list(found.metrics)) if found else (models, metrics)
        model, metric = model if model in names else names[0], metric if metric in measured else measured[0]
        choices = gr.Dropdown(names, value=model), gr.Dropdown(measured, value=metric)
        return *search(query, order, model, metric), *choices

    asked = [query, order, model, metric]
    quick: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 2 * AT_ONCE}
    gr.on(
        [query.change, order.input, model.input, metric.input], search, asked, [tiles, number], api_name="search",
        trigger_mode="always_last", **quick,
    )  # fmt: skip
    number.release(turn, [*asked, number], tiles, api_visibility="private", **quick)
    tab.select(enter, asked, [tiles, number, model, metric], api_visibility="private", **quick)


def _experiments(shown: Shown, tab: gr.Tab) -> None:
    with gr.Tabs(elem_id="views", overflow_behavior="wrap"):
        with gr.Tab("Models", id="models"):
            models = gr.HTML(elem_id="models-view")
            gr.HTML("<h3>Recent runs</h3>")
            runs = gr.HTML(elem_id="runs-view")
        with gr.Tab("Training", id="training"):
            training = gr.HTML(elem_id="training-view")
        with gr.Tab("Resources", id="resources"):
            resources = gr.HTML(elem_id="resources-view")
        with gr.Tab("Embeddings", id="embeddings"):
            maps = gr.HTML(elem_id="maps-view")
        with gr.Tab("Tuning", id="tuning"):
            tuning = gr.HTML(elem_id="tuning-view")
        with gr.Tab("Figures", id="figures"):
            figures = gr.HTML(elem_id="figures-view")
    clock = gr.Timer(TICK_SECONDS, active=False)

    def moving() -> tuple[str, str, str, str]:
        """What changes while something trains."""
        return (
            told(lambda: runs_view(shown.histories.now().rows)),
            told(lambda: progress_view.training_view(shown.histories.now())),
            told(lambda: progress_view.resources_view(shown.histories.now())),
            told(lambda: progress_view.search_view(shown.studies.now())),
        )

    def everything() -> tuple[Any, ...]:
        folder = shown.places.figures
        undrawn = "is drawn yet. Run `dvc repro visualize`."
        return (
            told(lambda: comparison_view(comparison(shown.places))),
            figures_view.figures_view(figures_view.maps(folder), f"No map of the embedding space {undrawn}"),
            figures_view.figures_view(figures_view.others(folder), f"No figure {undrawn}"),
            *moving(),
            gr.Timer(active=True),
        )

    changing = [runs, training, resources, tuning]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": AT_ONCE}
    tab.select(everything, None, [models, maps, figures, *changing, clock], **quiet)
    clock.tick(moving, None, changing, trigger_mode="once", **quiet)


def told(view: Callable[[], str]) -> str:
    """What `view` makes, or what is wrong with the files that it reads: one view's fault leaves the others alone."""
    try:
        return view()
    except UserError as error:
        return note_view(str(error))


def _album(shown: Shown) -> Album | None:
    try:
        return shown.albums.now()
    except UserError:
        return None
