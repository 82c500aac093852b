import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.config import Settings
from src.data.dataset import prepare
from src.data.images import ImageBytes, decode
from src.data.manifest import Manifest
from src.data.reading import DataError
from src.data.vocabulary import Vocabulary

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
TOKENS = "".join(f"{name}#0\tA dog runs .\n{name}#1\tThe dog , it runs .\n" for name in NAMES[:3])
TOKENS += "d.jpg#0\tA zebra .\nlost.jpg.1#0\tNobody .\n"
SPLITS = {
    "Flickr_8k.trainImages.txt": "a.jpg\nb.jpg\n",
    "Flickr_8k.devImages.txt": "c.jpg\n",
    "Flickr_8k.testImages.txt": "d.jpg\n",
}


@pytest.fixture
def flickr8k(tmp_path, zipped, photograph):
    """A root with a small Flickr8k, its images replaced or added to as wanted."""

    def lay(more=None, tokens=TOKENS, splits=SPLITS):
        images = {name: photograph() for name in NAMES} | (more or {})
        zipped(tmp_path / "data/flickr8k/Flickr8k_Dataset.zip", images)
        zipped(tmp_path / "data/flickr8k/Flickr8k_text.zip", {"Flickr8k.token.txt": tokens, **splits})
        return tmp_path

    return lay


def prepared(root, name="flickr8k", into="out", held_out="all", **prepare_settings):
    dataset = {"name": name, "root": root / "data", "held_out": held_out}
    settings = Settings.model_validate({"dataset": dataset, "prepare": {"min_word_count": 2} | prepare_settings})
    prepare(settings, root / into, root / into / "dataset.json")
    return json.loads((root / into / "dataset.json").read_text())


def test_a_dataset_becomes_a_manifest_whose_images_can_be_read(flickr8k):
    root = flickr8k()
    prepared(root)
    manifest = Manifest.load(root / "out")
    assert [image.name for image in manifest.images] == [f"flickr8k/{name}" for name in NAMES]
    first = manifest.images[0]
    assert first.captions == ("A dog runs .", "The dog , it runs .")
    assert first.words == (("a", "dog", "runs"), ("the", "dog", "it", "runs"))
    assert decode(ImageBytes(root / "data")(first.location)).size == (first.width, first.height)


def test_the_vocabulary_holds_the_training_words_that_are_common_enough(flickr8k):
    root = flickr8k(tokens=TOKENS + "a.jpg#2\tA giraffe .\n")
    prepared(root, min_word_count=3)
    vocabulary = Vocabulary.load(root / "out/vocabulary.json")
    assert set(vocabulary.words[4:]) == {"a", "dog", "runs"}


def test_a_word_of_the_test_split_alone_is_unknown(flickr8k):
    report = prepared(flickr8k())
    assert report["unknown_words"] == {"train": 0.0, "val": 0.0, "test": 0.5}


def test_the_report_counts_images_captions_and_lengths(flickr8k):
    report = prepared(flickr8k(), max_words=3)
    assert report["images"] == {"train": 2, "val": 1, "test": 1}
    assert report["captions"] == {"train": 4, "val": 2, "test": 1}
    assert report["caption_words"]["train"] == {
        "mean": 3.5,
        "median": 3.5,
        "longest": 4,
        "share_cut_at_max_words": 0.5,
        "histogram": {"3": 2, "4": 2},
    }


def test_the_report_names_what_is_wrong(flickr8k):
    findings = prepared(flickr8k())["integrity"]["flickr8k"]
    assert findings["captions_without_image"]["examples"] == ["lost.jpg.1"]


def test_a_bad_image_is_skipped_and_counted(flickr8k):
    root = flickr8k({"b.jpg": b"<html>"})
    report = prepared(root)
    assert report["integrity"]["flickr8k"]["undecodable"]["count"] == 1
    assert "flickr8k/b.jpg" not in [image.name for image in Manifest.load(root / "out").images]


def test_a_bad_image_fails_the_run_when_that_is_wanted(flickr8k):
    root = flickr8k({"b.jpg": b"<html>", "c.jpg": b""})
    with pytest.raises(DataError, match=r"2 images that cannot be decoded: b\.jpg: .*; c\.jpg: .*on_bad_image"):
        prepared(root, on_bad_image="fail")
    assert not (root / "out").exists()


def test_a_split_without_images_is_an_error_that_names_it(flickr8k):
    root = flickr8k(splits=SPLITS | {"Flickr_8k.devImages.txt": ""})
    with pytest.raises(DataError, match="val split"):
        prepared(root)


def test_the_same_files_give_the_same_bytes(flickr8k):
    root = flickr8k()
    prepared(root, into="one")
    prepared(root, into="two")
    for name in ("manifest.jsonl", "vocabulary.json", "dataset.json"):
        assert (root / "one" / name).read_bytes() == (root / "two" / name).read_bytes()


def test_a_union_holds_the_images_of_both_under_their_own_names(flickr8k, laid_out, photograph):
    root = flickr8k()
    laid_out(root / "data/flickr30k", flickr30k({"a.jpg": "train", "x.jpg": "val", "y.jpg": "test"}, photograph()))
    report = prepared(root, name="flickr8k+flickr30k")
    names = [image.name for image in Manifest.load(root / "out").images]
    assert {"flickr8k/b.jpg", "flickr30k/x.jpg", "flickr8k/a.jpg", "flickr30k/a.jpg"} <= set(names)
    assert set(report["integrity"]) == {"flickr8k", "flickr30k", "flickr8k+flickr30k"}


TWIN = "100_abc.jpg"


@pytest.fixture
def twins(flickr8k, laid_out, photograph):
    """A root with both Flickrs, and a photograph that one learns from and the other is tested on."""
    root = flickr8k(
        {TWIN: photograph()},
        tokens=TOKENS + f"{TWIN}#0\tA twin .\n",
        splits=SPLITS | {"Flickr_8k.trainImages.txt": f"a.jpg\nb.jpg\n{TWIN}\n"},
    )
    laid_out(root / "data/flickr30k", flickr30k({"1.jpg": "train", "2.jpg": "val", "100.jpg": "test"}, photograph()))
    return root


def test_a_union_does_not_learn_from_a_photograph_it_is_tested_on(twins):
    report = prepared(twins, name="flickr8k+flickr30k")
    names = [image.name for image in Manifest.load(twins / "out").images]
    assert f"flickr8k/{TWIN}" not in names
    assert "flickr30k/100.jpg" in names
    assert report["integrity"]["flickr8k+flickr30k"]["photographs_in_two_splits"]["examples"] == [f"flickr8k/{TWIN}"]


def test_a_union_may_be_judged_by_the_images_of_one_dataset_alone(twins):
    report = prepared(twins, name="flickr8k+flickr30k", held_out="flickr8k")
    splits = {image.name: image.split for image in Manifest.load(twins / "out").images}
    assert {name for name, split in splits.items() if split != "train"} == {"flickr8k/c.jpg", "flickr8k/d.jpg"}
    # Nobody is judged by the twin any more, so it may be learnt from.
    assert {"flickr30k/1.jpg", f"flickr8k/{TWIN}"} <= splits.keys()
    left_out = report["integrity"]["flickr8k+flickr30k"]
    assert left_out["held_out_by_others"]["examples"] == ["flickr30k/100.jpg", "flickr30k/2.jpg"]
    assert left_out["photographs_in_two_splits"]["count"] == 0


def test_photographs_of_one_dataset_are_left_as_it_divides_them(flickr8k, photograph):
    names = ("IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg")
    root = flickr8k(
        dict.fromkeys(names, photograph()),
        tokens="".join(f"{name}#0\tA dog .\n" for name in names),
        splits={file: f"{name}\n" for file, name in zip(SPLITS, names, strict=True)},
    )
    assert prepared(root)["images"] == {"train": 1, "val": 1, "test": 1}


def test_what_looks_like_markup_is_shown_as_it_stands(flickr8k, capsys):
    prepared(flickr8k(tokens=TOKENS + "[a dog] runs [/b]\n"))
    shown = capsys.readouterr().out
    assert "[a dog]" in shown
    assert "[/b]" in shown


def flickr30k(splits, picture):
    images = [{"filename": name, "split": split, "sentences": [{"raw": "A dog ."}]} for name, split in splits.items()]
    return {"dataset_flickr30k.json": json.dumps({"images": images})} | {f"images/{name}": picture for name in splits}


def stage(folder):
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""}
    command = [sys.executable, "-m", "stages.prepare"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_stage_leaves_its_files_and_prints_a_table(flickr8k):
    root = flickr8k()
    (root / "params.yaml").write_text("dataset: {name: flickr8k}\nprepare: {min_word_count: 1}\n")
    done = stage(root)
    assert done.returncode == 0, done.stderr
    assert "flickr8k: vocabulary of" in done.stdout
    assert (root / "outputs/dataset/manifest.jsonl").exists()
    assert (root / "reports/dataset.json").exists()


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("dataset: {name: flickr8k}", "data/flickr8k is missing"),
        ("dataset: {name: flickr9k}", "flickr9k"),
        ("prepare: {min_words: 3}", "unknown key 'prepare.min_words'"),
    ],
)
def test_what_a_person_can_mend_is_said_in_one_line(tmp_path, parameters, complaint):
    (tmp_path / "params.yaml").write_text(parameters)
    done = stage(tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
