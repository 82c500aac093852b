"""An exported captioner says what the eager one says, without this repository."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from src import export as command
from src.config import Decode, Embed
from src.data import images as library
from src.data.scenes.composition import compose
from src.data.scenes.picture import paint
from src.data.sentence import sentence
from src.decoding.describe import describe
from src.deployment import folder as writer
from src.deployment.folder import export
from src.deployment.quantised import quantise
from src.encoders import loading as encoders
from src.errors import UserError
from src.models.captioner import Captioner
from src.models.decoder import Decoder
from src.models.ensemble import together

standalone = importlib.import_module("src.deployment.caption")

SIDE = 64
SEARCHES = {
    "lstm": Decode(beam_size=3, max_words=6, length_penalty=0.7),
    "gru": Decode(beam_size=2, max_words=9, length_penalty=0.0, block_ngrams=2),
}


def made(rnn: str, variety: float = 0.8) -> Captioner:
    settings = Embed(encoder="squeezenet1_1", weights="random", image_size=SIDE, precision="fp32")
    encoder = encoders.load(settings)
    shape = encoder.provenance
    changes = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns, "hidden_size": 32}
    if tied := rnn == "gru":
        changes["embedding_size"] = 32
    decoder = Decoder(tiny.decoder(rnn, tied=tied).config.model_copy(update=changes)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += torch.randn_like(parameter) * variety
    return Captioner(decoder, tiny.vocabulary(), shape, SEARCHES[rnn], encoder=encoder)


def written(captioner: Captioner, folder: Path) -> tuple[Captioner, Path]:
    export(captioner, folder, captioner.decode)
    return captioner, folder


@pytest.fixture(scope="module")
def lstm(tmp_path_factory) -> tuple[Captioner, Path]:
    return written(made("lstm"), tmp_path_factory.mktemp("exported") / "lstm")


@pytest.fixture(scope="module")
def gru(tmp_path_factory) -> tuple[Captioner, Path]:
    return written(made("gru"), tmp_path_factory.mktemp("exported") / "gru")


@pytest.fixture(params=["lstm", "gru"])
def both(request) -> tuple[Captioner, Path]:
    return request.getfixturevalue(request.param)


def photographs(count: int) -> list[Image.Image]:
    """Patches of colour of several sizes: pictures that a random CNN tells apart."""
    random = np.random.default_rng(count)
    small = random.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return [Image.fromarray(one).resize((40 + 17 * number, 90)) for number, one in enumerate(small)]


def scenes(count: int) -> list[Image.Image]:
    """The sample's pictures."""
    drawn = (np.random.default_rng([5, number]) for number in range(count))
    return [paint(compose(random)) for random in drawn]


def eager(captioner: Captioner, pictures: list[Image.Image]) -> list[list[tuple[str, float]]]:
    with torch.inference_mode():
        found = describe(captioner.decoder, captioner.vocabulary, captioner.grids(pictures), captioner.decode)
    return [[(one.text, one.log_probability) for one in captions] for captions in found]


def test_the_captioners_here_tell_pictures_apart(both):
    assert len({row[0][0] for row in eager(both[0], photographs(7))}) > 2


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("draw", [photographs, scenes])
def test_it_says_the_same_for_any_number_of_pictures(both, draw, count):
    captioner, folder = both
    exported = standalone.Captioner(folder, threads=1)
    pictures = draw(count)
    found = exported([exported.pixels(picture) for picture in pictures])
    expected = eager(captioner, pictures)
    assert [[one.text for one in captions] for captions in found] == [[text for text, _ in row] for row in expected]
    logs = [[one.log_probability for one in captions] for captions in found]
    # Grids are rounded to half precision: where that goes the other way, this sharp decoder sees another picture.
    np.testing.assert_allclose(logs, [[log for _, log in row] for row in expected], atol=0.02)


def test_without_pictures_there_are_no_captions(lstm):
    assert standalone.Captioner(lstm[1], threads=1)([]) == []


def test_it_runs_in_a_folder_of_its_own_with_its_runtime_alone(lstm, tmp_path):
    captioner, folder = lstm
    shutil.copytree(folder, tmp_path / "elsewhere")
    [picture] = photographs(1)
    picture.save(tmp_path / "photo.png")
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'src', 'pydantic', 'onnx')))"
    run = f"{blocked}; sys.argv = ['caption.py', 'photo.png', '--json', '--alternatives', '3']"
    done = subprocess.run(
        [sys.executable, "-c", f"{run}; import runpy; runpy.run_path('elsewhere/caption.py', run_name='__main__')"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = [one["caption"] for one in json.loads(done.stdout)["captions"]]
    assert said == [text for text, _ in eager(captioner, [picture])[0]]


def test_pictures_that_cannot_be_read_are_named_and_the_others_captioned(lstm, tmp_path):
    photographs(1)[0].save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    done = subprocess.run(
        [sys.executable, lstm[1] / "caption.py", "bad.jpg", "good.png", "gone.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("good.png: ")
    assert "bad.jpg is not an image" in done.stderr and "gone.png" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_whose_name_is_no_text_is_captioned_like_any_other(tmp_path, monkeypatch, capsys):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    photographs(1)[0].save(path)
    monkeypatch.setattr(standalone.Captioner, "__init__", lambda self, folder, threads: setattr(self, "beams", 1))
    monkeypatch.setattr(standalone.Captioner, "pixels", lambda self, image: image)
    monkeypatch.setattr(standalone.Captioner, "__call__", lambda self, seen: [[standalone.Caption("a dog", -1.0)]])
    monkeypatch.setattr(sys, "argv", ["caption.py", str(path), "--json"])
    assert standalone.main() == 0
    assert json.loads(capsys.readouterr().out)["image"] == str(path)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((3, SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.float32),
    ],
)
def test_pixels_of_another_kind_are_refused(lstm, picture):
    exported = standalone.Captioner(lstm[1], threads=1)
    with pytest.raises(standalone.RefusedError, match=rf"the model reads \[{SIDE}, {SIDE}, 3\] of uint8"):
        exported([picture])


@pytest.mark.parametrize("name", ["model.onnx", "vocabulary.json", "config.json"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_export_is_refused(lstm, tmp_path, name, damage):
    folder = shutil.copytree(lstm[1], tmp_path / "model")
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "cut":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(standalone.RefusedError, match=r"exported model|model\.onnx"):
        standalone.Captioner(folder)


def shapes() -> dict[str, Image.Image]:
    random = np.random.default_rng(3)
    colours = Image.fromarray(random.integers(0, 256, (50, 70, 3), np.uint8))
    turned = colours.copy()
    turned.getexif()[0x0112] = 6
    return {
        "colours": colours,
        "turned": turned,
        "grey": colours.convert("L"),
        "deep": Image.fromarray(random.integers(0, 65536, (50, 70), np.uint16)),
        "see-through": Image.merge("RGBA", (*colours.split(), colours.getchannel(0))),
        "palette": colours.quantize(16),
    }


@pytest.mark.parametrize("kind", sorted(shapes()))
def test_it_sees_a_file_as_the_library_does(lstm, tmp_path, kind):
    path = tmp_path / "photo.png"
    picture = shapes()[kind]
    picture.save(path, exif=picture.getexif())
    captioner, folder = lstm
    seen = standalone.Captioner(folder, threads=1).pixels(standalone.photograph(path))
    assert np.array_equal(seen.transpose(2, 0, 1), captioner.encoder.pixels(library.decode(path)))


def test_eight_bits_say_nearly_the_same_whatever_the_processor(tmp_path):
    captioner, folder = written(made("lstm", variety=0.3), tmp_path / "fp32")
    pictures = photographs(24)
    pixels = [captioner.encoder.pixels(picture).transpose(1, 2, 0).copy() for picture in pictures]
    smaller = shutil.copytree(folder, tmp_path / "int8")
    quantise(folder / "model.onnx", smaller / "model.onnx", pixels)
    found = standalone.Captioner(smaller, threads=1)(pixels)
    expected = eager(captioner, pictures)
    errors = [abs(one[0].log_probability - row[0][1]) for one, row in zip(found, expected, strict=True)]
    strangers = [abs(one[0].log_probability - row[0][1]) for one in found for row in expected]
    assert np.mean(errors) < 0.2 * np.mean(strangers)
    assert (smaller / "model.onnx").stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size


def test_an_old_export_is_replaced_and_nothing_else_ever_is(lstm, tmp_path, monkeypatch):
    captioner, folder = lstm
    monkeypatch.setattr(writer, "write_graph", lambda graph, target: shutil.copyfile(folder / "model.onnx", target))
    (tmp_path / "mine").mkdir()
    for name, text in (("letters.txt", "dear"), ("model.onnx", "of another kind"), ("config.json", "{}")):
        (tmp_path / "mine" / name).write_text(text)
        with pytest.raises(UserError, match="something else than an export"):
            export(captioner, tmp_path / "mine", captioner.decode)
    assert (tmp_path / "mine/letters.txt").exists()
    old = shutil.copytree(folder, tmp_path / "old")
    (old / "leftover").touch()
    export(captioner, old, captioner.decode.model_copy(update={"beam_size": 1}))
    assert sorted(path.name for path in old.iterdir()) == [
        "README.md", "caption.py", "config.json", "model.onnx", "vocabulary.json",
    ]  # fmt: skip
    assert json.loads((old / "config.json").read_text())["search"]["beam_size"] == 1


def test_several_decoders_are_refused_in_words(tmp_path):
    several = replace(made("lstm"), decoder=together([made("lstm").decoder, made("lstm").decoder]))
    with pytest.raises(UserError, match=r"2 decoders that speak as one.*train\.members=1"):
        export(several, tmp_path / "out", several.decode)
    assert not (tmp_path / "out").exists()


def test_the_command_exports_a_saved_captioner(lstm, tmp_path, capsys):
    lstm[0].save(tmp_path / "bundle")
    (tmp_path / "photographs").mkdir()
    for number, picture in enumerate(photographs(3)):
        picture.save(tmp_path / f"photographs/{number}.png")
    folders = ["--model", str(tmp_path / "bundle"), "--out", str(tmp_path / "out")]
    command.main([*folders, "--beam-size", "2", "--int8", "--pictures", str(tmp_path / "photographs")])
    assert "beam 2, int8" in capsys.readouterr().out
    exported = standalone.Captioner(tmp_path / "out", threads=1)
    [found] = exported([exported.pixels(photographs(1)[0])])
    assert len(found) == 2


@pytest.mark.parametrize(("rerank", "told"), [("none", False), ("consensus", True), ("baseline", True)])
def test_an_order_that_the_graph_does_not_know_is_told(lstm, tmp_path, monkeypatch, capsys, rerank, told):
    captioner = replace(lstm[0], decode=Decode(rerank=rerank))
    monkeypatch.setattr(command, "opened", lambda folder, places: captioner)
    monkeypatch.setattr(command, "export", lambda captioner, folder, *rest: shutil.copytree(lstm[1], folder))
    command.main(["--out", str(tmp_path / "out")])
    assert (f"decode.rerank={rerank} is not part of it" in capsys.readouterr().out) == told


def test_eight_bits_without_photographs_say_what_to_do(lstm, tmp_path, monkeypatch, capsys):
    lstm[0].save(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(SystemExit):
        command.main(["--model", "bundle", "--out", "out", "--int8"])
    assert "--pictures DIR" in capsys.readouterr().err


def test_the_folder_names_the_captioner_it_came_from(both):
    captioner, folder = both
    described = json.loads((folder / "config.json").read_text())
    assert described["captioner"] == captioner.digest()


@pytest.mark.parametrize("text", ["a dog 's ball", "red , blue", "it runs .", "", "a dog"])
def test_its_sentences_are_the_librarys(text):
    assert standalone.Caption(text, 0.0).sentence == sentence(text)


def test_an_export_goes_where_a_link_leads(lstm, tmp_path):
    captioner, _ = lstm
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    export(captioner, tmp_path / "link", captioner.decode)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "model.onnx").exists()


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_done(lstm, tmp_path, monkeypatch):
    captioner, _ = lstm
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(writer, "write_graph", None)
    for folder, told in ((Path("file/x"), "cannot be made"), (Path(), "is the working folder")):
        with pytest.raises(UserError, match=f"{told}.*--out"):
            export(captioner, folder, captioner.decode)
