"""The test images: found, ordered, and cut into pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from src.app.gallery import PAGE, Album, Albums, Entry, page
from src.app.gallery_view import gallery_view
from src.errors import MissingFile, UserError
from src.places import Places


def entry(number: int, reference: str, score: float | None, caption: str = "a cat") -> Entry:
    figures = {"LSTM": {} if score is None else {"CIDEr": score}, "GRU": {"CIDEr": -number}}
    return Entry(number, f"{9 - number}.png", (reference,), {"LSTM": caption, "GRU": caption}, figures)


ALBUM = Album(
    (
        entry(0, "A dog on the beach.", 0.5),
        entry(1, "Two dogs.", 2.0),
        entry(2, "A beach at night.", 0.5, "a dog <b>"),
        entry(3, "A hotdog.", None),
    ),
    (),
    ("LSTM", "GRU"),
    ("CIDEr",),
    "digest",
)


def numbers(*asked: Any) -> list[int]:
    return [entry.number for entry in ALBUM.found(*asked)]


def test_a_search_wants_every_word_as_the_beginning_of_one_that_people_or_models_say() -> None:
    assert numbers("dog", "best first", "LSTM", "CIDEr") == [1, 0, 2]
    assert numbers(" BEACH  dog ", "best first", "LSTM", "CIDEr") == [0, 2]
    assert numbers("zebra", "best first", "LSTM", "CIDEr") == []


def test_images_are_ordered_by_the_chosen_model_and_those_without_a_figure_come_last() -> None:
    assert numbers("", "best first", "LSTM", "CIDEr") == [1, 0, 2, 3]
    assert numbers("", "worst first", "LSTM", "CIDEr") == [0, 2, 1, 3]
    assert numbers("", "worst first", "GRU", "CIDEr") == [3, 2, 1, 0]
    assert numbers("", "file name", "LSTM", "CIDEr") == [3, 2, 1, 0]


def test_pages_hold_so_many_images_and_the_nearest_page_is_shown() -> None:
    many = [entry(number, "", 0.0) for number in range(PAGE + 1)]
    assert [one.number for one in page(many, 2)[0]] == [PAGE]
    assert page(many, 9)[1:] == (2, 2)
    assert page([], 0) == ([], 1, 1)


def test_what_people_and_models_say_is_shown_as_text_and_never_as_markup() -> None:
    view = gallery_view(ALBUM.entries, ALBUM, "LSTM", "CIDEr", 4)
    assert "<b>" not in view
    assert "&lt;b&gt;" in view


def evaluation(places: Places, filenames: list[str]) -> None:
    images = [
        {
            "filename": name,
            "generated_caption": "a dog",
            "evaluation_metrics": {"BLEU_scores": {"BLEU-4": 0.1}, "CIDEr": 1},
        }
        for name in filenames
    ]
    places.evaluation.parent.mkdir(parents=True, exist_ok=True)
    places.evaluation.write_text(
        json.dumps({"models": {"BLIP": {"test_images": images}, "GRU": {"test_images": images}}})
    )


def test_an_album_is_read_from_what_the_evaluation_left_and_read_again_when_that_changes(tmp_path: Path) -> None:
    places = Places.below(tmp_path)
    manifest = tiny.manifest(test=2)
    manifest.save(places.dataset)
    albums = Albums(places)
    with pytest.raises(MissingFile, match="Run `dvc repro`"):
        albums.now()
    names = [image.filename for image in manifest.split("test")]
    evaluation(places, names)
    album = albums.now()
    assert (album.models, album.metrics) == (("GRU", "BLIP"), ("CIDEr", "BLEU-4"))
    assert albums.now() is album
    evaluation(places, names[::-1])
    with pytest.raises(UserError, match="is of other images"):
        albums.now()


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    places = Places.below(tmp_path)
    tiny.manifest(test=2).save(places.dataset)
    places.evaluation.parent.mkdir(parents=True)
    places.evaluation.write_text('{"models": {"LSTM": {}}}')
    with pytest.raises(UserError, match=r"eval-metrics.json is damaged"):
        Albums(places).now()
