"""A bundle brings the CNN that has learnt, and whoever captions with it looks through that one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from photographed import STEPS, Tunable

from src import evaluation
from src.decoding.describe import describe
from src.decoding.images import describe_images
from src.encoders import cache
from src.errors import UserError
from src.models.captioner import Captioner
from src.training import train as training
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("unrecorded")


def fitted(trainer: Trainer) -> Trainer:
    trainer.fit(tiny.Remembered(), None, StopRequest())
    return trainer


def test_the_bundle_brings_the_encoder_that_has_learnt_and_captions_with_it(tunable, better, tmp_path):
    expected = fitted(tunable.trainer())
    loaded = tunable.trained(tmp_path)
    assert loaded.tuned and loaded.encoder is not None
    assert "weights" in loaded.provenance.difference(tunable.embeddings.provenance)
    for name, value in expected.learner.encoder.used_state().items():
        assert torch.equal(loaded.encoder.used_state()[name], value), name
    pictures = [tunable.picture(row) for row in range(3)]
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([expected.learner.encoder.pixels(picture) for picture in pictures]))
        said = describe(
            expected.learner.decoder.eval(),
            tiny.vocabulary(),
            expected.learner.encoder(pixels).half(),
            tunable.settings.decode,
        )
        again = describe(loaded.decoder, loaded.vocabulary, loaded.grids(pictures), tunable.settings.decode)
    for one, other in zip(said, again, strict=True):
        assert [caption.words for caption in one] == [caption.words for caption in other]
        assert [caption.log_probability for caption in one] == pytest.approx(
            [caption.log_probability for caption in other], rel=1e-5
        )


def test_an_encoder_that_made_nothing_better_is_left_out(tunable, worse, tmp_path):
    loaded = tunable.trained(tmp_path)
    assert not loaded.tuned and loaded.encoder is None
    assert loaded.provenance == tunable.embeddings.provenance
    whole = Captioner.load(tmp_path / "model")  # with the encoder of the cache
    assert whole.encoder.provenance == tunable.embeddings.provenance


@pytest.fixture
def tuned(tunable, better, tmp_path) -> Captioner:
    return tunable.trained(tmp_path)


def test_cached_grids_are_not_used_for_an_encoder_that_has_learnt(tunable, tuned):
    rows = [12, 1, 4]
    useless = dataclasses.replace(tunable.embeddings, grids=np.full_like(tunable.embeddings.grids, np.nan))
    with torch.inference_mode():
        found = list(describe_images(tuned, useless, tunable.manifest, rows, tunable.settings))
        for row, captions in zip(rows, found, strict=True):
            grids = tuned.grids([tunable.picture(row)])
            (expected,) = describe(tuned.decoder, tuned.vocabulary, grids, tunable.settings.decode)
            assert captions[0].words == expected[0].words
            assert captions[0].log_probability == pytest.approx(expected[0].log_probability, abs=1e-3)


def evaluated(group: Any, captioner: Captioner, tunable: Tunable, rows: list[int]) -> list[str]:
    found = evaluation.best_captions(captioner, tunable.embeddings, tunable.manifest, rows, tunable.settings, group)
    return [caption.text for caption in found]


def test_evaluation_captions_with_the_encoder_that_has_learnt(tunable, tuned, monkeypatch):
    encoded: list[int] = []
    encode = cache.encode

    def noted(encoder: Any, images: Any, *rest: Any) -> np.ndarray:
        assert encoder is tuned.encoder
        encoded.append(len(images))
        return encode(encoder, images, *rest)

    monkeypatch.setattr("src.decoding.images.encode", noted)
    assert len(evaluated(tiny.ALONE, tuned, tunable, tunable.manifest.rows("test"))) == 4
    assert encoded == [4]


def test_a_process_without_an_image_to_evaluate_has_none_to_encode(tunable, tuned):
    assert evaluated(tiny.ALONE, tuned, tunable, []) == []


def test_an_encoder_that_was_not_tuned_needs_the_grids_it_was_trained_on(tunable, worse, tmp_path):
    captioner = tunable.trained(tmp_path)
    other = dataclasses.replace(tunable.embeddings.provenance, weights="1" * 64)
    with pytest.raises(UserError, match="trained on other grids"):
        next(
            describe_images(
                captioner,
                dataclasses.replace(tunable.embeddings, provenance=other),
                tunable.manifest,
                [0],
                tunable.settings,
            )
        )


def test_the_stage_goes_on_in_the_middle_of_tuning(tunable, better, tmp_path, monkeypatch, capsys):
    expected = tunable.trained(tmp_path / "whole").digest()

    @contextmanager
    def requests() -> Iterator[StopRequest]:
        yield tiny.StopAfter(STEPS + 1)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(training, "stop_requests", requests)
        tunable.trained(tmp_path / "parts")
    assert tunable.trained(tmp_path / "parts").digest() == expected
    assert "resumed at step 3 of 4" in capsys.readouterr().out


def test_an_encoder_that_did_not_make_the_grids_is_refused(tunable, tmp_path):
    other = tunable.settings.model_copy(
        update={"embed": tunable.settings.embed.model_copy(update={"weights": "random"})}
    )
    with pytest.raises(UserError, match="did not make"):
        dataclasses.replace(tunable, settings=other).trained(tmp_path)
