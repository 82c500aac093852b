"""Captions side by side."""

from __future__ import annotations

import math
import re
from functools import cache

import pytest
import tiny
import torch
from PIL import Image

from src import config
from src.app.answers import Answer, Said, answers
from src.app.captions_view import captions_view, note_view
from src.app.speakers import Cast, Speaker
from src.config import Decode, Embed, Settings
from src.data.vocabulary import END
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder
from src.models.baseline import Baseline
from src.models.captioner import Captioner
from src.models.decoder import Decoder

PHOTOGRAPH = Image.radial_gradient("L").convert("RGB")


@cache
def encoder() -> Encoder:
    return encoders.load(Embed(encoder="shufflenet_v2_x0_5", weights="random", image_size=64, precision="fp32"))


def speaking(rnn: str) -> Captioner:
    shape = encoder().provenance
    grid = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns}
    torch.manual_seed(0)
    decoder = Decoder(tiny.decoder(rnn).config.model_copy(update=grid)).eval()
    return Captioner(decoder, tiny.vocabulary(), shape, Settings().decode, encoder=encoder())


def test_every_speaker_answers_with_captions_looks_and_its_time() -> None:
    cast = Cast(
        (Speaker("GRU", "version 2", speaking("gru"), champion=True), Speaker("LSTM", "version 1", speaking("lstm")))
    )
    found = answers(PHOTOGRAPH, cast, beam_size=3, alternatives=2)
    assert [(answer.name, answer.champion) for answer in found] == [("GRU", True), ("LSTM", False)]
    assert any(said.words for answer in found for said in answer.said)
    for answer in found:
        assert len(answer.said) == 2
        assert answer.seconds > 0
        for said in answer.said:
            assert said.looks is not None
            assert len(said.looks) == len(said.words)
            for look in said.looks:
                assert len(look) == answer.rows * answer.columns
                assert math.isclose(sum(look), 1, abs_tol=1e-3)


def test_models_that_share_an_encoder_look_at_the_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    grids = Captioner.grids

    def watched(self: Captioner, images: list[Image.Image]) -> object:
        looked.append(self.name)
        return grids(self, images)

    monkeypatch.setattr(Captioner, "grids", watched)
    cast = Cast((Speaker("LSTM", "", speaking("lstm")), Speaker("GRU", "", speaking("gru"))))
    answers(PHOTOGRAPH, cast, 1, 1)
    assert looked == ["LSTM"]


def test_models_search_as_they_were_evaluated_until_a_visitor_chooses_another_beam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lstm, gru = speaking("lstm"), speaking("gru")
    lstm.decode, gru.decode = Decode(beam_size=2), Decode(beam_size=4)
    blip = Baseline.tiny(config.Baseline(beam_size=3), tiny.vocabulary())
    asked: list[int] = []

    def caption(self: Baseline, images: list[Image.Image]) -> list[str]:
        asked.append(self.settings.beams)
        return ["a cat"]

    monkeypatch.setattr(Baseline, "caption", caption)
    cast = Cast((Speaker("LSTM", "", lstm), Speaker("GRU", "", gru), Speaker("BLIP", "", blip)))
    for chosen in (None, 5):
        asked += [len(answer.said) for answer in answers(PHOTOGRAPH, cast, chosen, 9)[:2]]
    assert asked == [3, 2, 4, 5, 5, 5]


def test_how_sure_a_model_is_of_each_word_does_not_depend_on_whether_its_caption_was_cut() -> None:
    captioner = speaking("gru")
    captioner.decode = Decode(max_words=2, length_penalty=0.0)
    assert isinstance(captioner.decoder, Decoder)
    with torch.no_grad():  # every word is as probable as any other, and the end so little more that it is found
        captioner.decoder.vocab.weight.zero_()
        captioner.decoder.vocab.bias.zero_()
        captioner.decoder.vocab.bias[END] = 1e-4
    size = captioner.decoder.config.vocab_size
    [answer] = answers(PHOTOGRAPH, Cast((Speaker("GRU", "", captioner),)), size, size)
    assert {0, 2} <= {len(said.words) for said in answer.said}  # which of equals are found is nobody's promise
    assert [said.certainty for said in answer.said] == pytest.approx([1 / size] * size, rel=1e-3)


def test_words_are_buttons_where_it_is_known_where_they_looked_and_text_elsewhere() -> None:
    shown = captions_view(
        Image.new("RGB", (8, 8)),
        [
            Answer("LSTM", "version 1", True, (Said(("a", "<dog>"), 0.5, ((0.9, 0.1), (0.5, 0.5))),), 0.0614, 1, 2),
            Answer("BLIP", "tiny", False, (Said(("a", "<cat>")),), 0.1),
        ],
        ["`x<y` is missing"],
    )
    assert re.findall(r'data-look="([^"]*)" data-where="([^"]*)">([^<]*)<', shown) == [
        ("[0.9,0.1]", "all over the picture", "A"),
        ("[0.5,0.5]", "all over the picture", "&lt;dog&gt;"),
    ]
    assert "61 ms · version 1 · 50% sure of each word" in shown
    assert "A &lt;cat&gt;." in shown
    assert "<code>x&lt;y</code> is missing" in shown
    assert note_view("plain") == '<p class="cl-note">plain</p>'
