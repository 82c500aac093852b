"""params.yaml is typed: what is wrong with it is said by the key's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from src.config import ConfigError, Decode, Model, Settings, fingerprint, load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refused(tmp_path):
    """Load a text that must be refused, and return what a person is told."""

    def attempt(text: str) -> str:
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as refusal:
            load(path)
        assert str(path) in str(refusal.value)
        return str(refusal.value)

    return attempt


def test_the_projects_own_parameters_are_sound_and_say_every_one():
    import yaml

    stated = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings = load(ROOT / "params.yaml").model_dump(mode="json")
    assert stated.keys() == settings.keys()
    for section, values in settings.items():
        if isinstance(values, dict):
            assert stated[section].keys() == values.keys(), section


def test_a_parameter_that_is_left_out_is_what_the_projects_own_parameters_say():
    settings, defaults = (made.model_dump(mode="json") for made in (load(ROOT / "params.yaml"), Settings()))
    assert settings["tune"].pop("space") and not defaults["tune"].pop("space")  # what to search is never a default
    assert settings == defaults


def test_what_is_not_stated_has_its_default(tmp_path):
    (tmp_path / "params.yaml").write_text("model: {rnn: gru}\n")
    settings = load(tmp_path / "params.yaml")
    assert settings.model == Model(rnn="gru")
    assert settings.train == Settings().train


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ConfigError, match="run from the root of the repository"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: {epoch: 3}", "unknown key 'train.epoch' (known here: epochs,"),
        ("training: {epochs: 3}", "unknown key 'training' (known here: seed, dataset,"),
        ("train: {epochs: 0}", "train.epochs = 0:"),
        ("train: {epochs: many}", "train.epochs = 'many':"),
        ("train: {epochs: 2.5}", "train.epochs = 2.5:"),
        ("train: {learning_rate: .nan}", "train.learning_rate = nan:"),
        ("train: {weight_decay: .inf}", "train.weight_decay = inf:"),
        ("model: {rnn: transformer}", "model.rnn = 'transformer':"),
        ("model: {dropout: 1.0}", "model.dropout = 1.0:"),
        ("decode: {beam_size: 65}", "decode.beam_size = 65:"),
        ("evaluate: {metrics: [BLEU, SPICY]}", "evaluate.metrics.1 = 'SPICY':"),
        ("evaluate: {metrics: []}", "evaluate.metrics = []:"),
        ("dataset: {name: flickr9k}", "dataset.name is 'flickr9k': use one of sample, flickr8k"),
        ("dataset: {name: sample+sample}", "different ones joined by '+'"),
        ("dataset: {name: sample+coco, held_out: flickr8k}", "held_out is 'flickr8k': use all, or one of sample, coco"),
        ("baseline: {checkpoint: x/y, lora_rank: 16}", "baseline.lora_rank is 16, but nothing is trained: set"),
        ("baseline: {checkpoint: x/y, lora_rank: 16, finetune_epochs: 0}", "baseline.lora_rank is 16, but nothing"),
        ("baseline: {adapt: {most_sampling: 0.1}}", "baseline.adapt.most_sampling is for recurrent decoders"),
        ("{embed: {precision: fp16}, train: {finetune_encoder: 1}}", "in which the encoder cannot learn"),
        (
            "{decode: {rerank: baseline}, baseline: {checkpoint: none}}",
            "decode.rerank is 'baseline' and baseline.checkpoint 'none': choose one",
        ),
        (
            "{train: {distill: 0.5}, baseline: {checkpoint: none}}",
            "train.distill is 0.5 and baseline.checkpoint 'none': choose one",
        ),
        ("decode: {rerank: consensus, beam_size: 1}", "decode.rerank is 'consensus' and decode.beam_size 1, which"),
        ("decode: {rerank: baseline, beam_size: 1}", "decode.rerank is 'baseline' and decode.beam_size 1, which"),
        ("prepare: {max_words: 128}", "prepare.max_words is 128, but baseline.checkpoint 'tiny' has room for 127 "),
        ("decode: {max_words: 128, rerank: baseline}", "decode.max_words is 128, but baseline.checkpoint 'tiny' has"),
        (
            "baseline: {max_words: 126, prompt: a photo}",
            "baseline.max_words is 126, but baseline.checkpoint 'tiny' has",
        ),
        ("{decode: {rerank: expected}, train: {finetune_encoder: 1}}", "'expected' and train.finetune_encoder 1"),
        ("train: {finetune_encoder: 1, members: 2}", "train.members is 2 and train.finetune_encoder 1"),
        ("seed: -1", "seed = -1:"),
        ("train: 3", "train = 3:"),
        ("- seed", "holds list, not the sections seed, dataset"),
        ("", "holds NoneType"),
        ("train: {epochs: 3", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_by_its_name(refused, text, told):
    assert told in refused(text)


def test_everything_that_is_wrong_is_said_at_once(refused):
    message = refused("train: {epochs: 0, batch_images: 0}\nmodel: {rnn: mlp}")
    assert all(name in message for name in ("train.epochs", "train.batch_images", "model.rnn"))


def test_a_bundle_may_search_greedily_whatever_its_beam_was_reranked_by():
    """A page or a command asks for other beams than the parameters."""
    assert Decode.model_validate({"rerank": "consensus", "beam_size": 1}).beam_size == 1


def test_the_small_blips_room_is_no_business_of_other_checkpoints():
    assert Settings.model_validate({"prepare": {"max_words": 500}, "baseline": {"checkpoint": "none"}})
    assert Settings.model_validate({"decode": {"max_words": 500}})


def test_several_datasets_are_joined_by_plus():
    assert Settings.model_validate({"dataset": {"name": "flickr8k+coco"}}).dataset.names == ("flickr8k", "coco")


def test_settings_do_not_change_while_a_run_uses_them():
    with pytest.raises(ValidationError):
        Settings().train.epochs = 3  # type: ignore[misc]


def leaves(value: object) -> int:
    return sum(map(leaves, value.values())) if isinstance(value, dict) else 1


def test_flat_parameters_are_all_of_them_as_plain_values():
    flat = Settings().flat()
    assert flat["seed"] == 0 and flat["model.rnn"] == "lstm" and flat["dataset.root"] == "data"
    assert flat["evaluate.metrics"].startswith("BLEU+CIDEr")
    assert all(value is None or isinstance(value, str | int | float | bool) for value in flat.values())
    assert len(flat) == leaves(Settings().model_dump(exclude={"tune", "visualize"}))


def test_a_fingerprint_names_content_whatever_its_order():
    assert fingerprint({"a": 1, "b": [2]}, Settings()) == fingerprint({"b": [2], "a": 1}, Settings())
    assert fingerprint(Model()) == fingerprint(Model().model_dump(mode="json"))


def test_a_fingerprint_is_the_same_on_every_machine():
    assert fingerprint("captionlab", 1, {"rnn": "lstm"}) == "4978bae84edb80ae"


@given(st.dictionaries(st.sampled_from(["hidden_size", "embedding_size"]), st.integers(1, 99), min_size=1))
def test_a_changed_parameter_changes_the_fingerprint(changes):
    other = Model().model_copy(update=changes)
    assert (fingerprint(other) == fingerprint(Model())) == (other == Model())
