"""What `python -m src.caption` makes of its arguments before it looks at a picture."""

import json
import os
import sys
from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from src import caption as command
from src.caption import beams, drawings, files, main, search
from src.config import Decode
from src.decoding.describe import Caption
from src.errors import UserError


def test_a_folder_stands_for_the_images_in_it_and_below(tmp_path):
    for name in ("b.JPG", "deep/a.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert files([tmp_path]) == [tmp_path / "b.JPG", tmp_path / "deep/a.webp"]


def test_an_image_that_is_named_again_counts_once(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()

    assert files([tmp_path / "b.png", tmp_path, tmp_path / "b.png"]) == [tmp_path / "b.png", tmp_path / "a.png"]


def test_an_empty_name_is_refused_and_not_taken_for_the_working_folder(capsys):
    with pytest.raises(SystemExit):
        main([""])
    assert "a name is empty" in capsys.readouterr().err


def test_a_folder_without_images_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no image"):
        files([tmp_path])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_whose_name_is_no_text_is_captioned_like_any_other(tmp_path, monkeypatch, capsys):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    for each in (path, tmp_path / "other.png"):
        Image.new("RGB", (8, 8)).save(each)
    captioner = SimpleNamespace(decode=Decode(), to=lambda device: captioner)
    monkeypatch.setattr(command, "_captioner", lambda folder, alias: captioner)
    monkeypatch.setattr(
        command, "caption", lambda _, images, __: [[Caption(("a", "dog"), -1.0, torch.ones(2, 1))]] * len(images)
    )

    monkeypatch.setenv("WORLD_SIZE", "2")  # as schedulers of clusters leave it: this command works alone
    command.main([str(path), "--json"])
    assert json.loads(capsys.readouterr().out)["image"] == str(path)
    command.main([str(path), str(tmp_path)])
    assert "caf\\udce9.png: A dog." in capsys.readouterr().out


@pytest.mark.parametrize("given", ["0", "65", "-1", "two"])
def test_a_number_of_beams_or_captions_that_cannot_be_is_refused(given):
    with pytest.raises(ArgumentTypeError, match=f"'{given}' is not a number from 1 to 64"):
        beams(given)


def test_images_of_one_name_are_drawn_into_files_of_their_own(tmp_path):
    images = [tmp_path / "a/x.jpg", tmp_path / "b/x.jpg", tmp_path / "x.png"]

    places = drawings(images, tmp_path / "looks")

    assert len(set(places.values())) == 3


def test_a_drawing_never_takes_the_place_of_an_image(tmp_path):
    images = [tmp_path / "x.png", tmp_path / "x-attention.png"]

    assert not {place.resolve() for place in drawings(images, tmp_path).values()} & set(images)


def test_more_alternatives_than_beams_widen_the_search():
    assert search(Decode(beam_size=2), None, alternatives=7).beam_size == 7


def test_a_beam_asked_for_is_the_beam_taken():
    assert search(Decode(beam_size=5), 1, alternatives=1).beam_size == 1


def test_a_beam_too_narrow_for_the_alternatives_asked_for_is_refused():
    with pytest.raises(UserError, match="use --beam-size 3 or more"):
        search(Decode(), 2, alternatives=3)


def test_a_name_that_is_as_long_as_names_can_be_is_cut(tmp_path):
    longest = [tmp_path / f"{'a' * 249}.png", tmp_path / f"{'ä' * 124}.png"]
    for drawing in drawings(longest, tmp_path).values():
        drawing.touch()
    twins = [tmp_path / f"{'a' * 240}{number}.png" for number in range(2)]
    assert len(set(drawings(twins, tmp_path).values())) == 2
