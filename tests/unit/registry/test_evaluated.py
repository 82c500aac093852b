"""What a pipeline run was evaluated with is what its model is used with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pipelines
import pytest

from src import caption, export
from src.config import Decode
from src.errors import UserError
from src.files import write_json
from src.models.captioner import Captioner
from src.places import Places
from src.registry.evaluated import opened


def evaluated(folder: Path, digest: str | None = None, **search: object) -> Places:
    """A pipeline run whose model was trained, then evaluated with a search of its own."""
    places = Places.below(pipelines.pipeline(folder))
    write_json(places.parameters, {"decode": search})
    own = Captioner.load(places.model, with_encoder=False)
    write_json(places.comparison, {"origins": {own.name: {"digest": digest or own.digest()}}})
    return places


def test_the_last_runs_model_searches_as_it_was_evaluated(tmp_path: Path) -> None:
    places = evaluated(tmp_path, length_penalty=1.5, block_ngrams=3)

    for folder in (places.model, places.model / ".." / places.model.name):
        assert opened(folder, places).decode == Decode(length_penalty=1.5, block_ngrams=3)


def test_a_model_that_was_not_evaluated_searches_as_it_was_trained(tmp_path: Path) -> None:
    places = evaluated(tmp_path, digest="of the model before", length_penalty=1.5)
    other = shutil.copytree(places.model, tmp_path / "other")

    assert opened(places.model, places).decode == Decode()
    assert opened(other, places).decode == Decode()
    places.comparison.unlink()
    assert opened(places.model, places).decode == Decode()


@pytest.mark.parametrize(("command", "arguments"), [(caption, ["photo.jpg"]), (export, [])])
def test_commands_take_the_evaluated_search(
    command: object, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(settings: Decode, *_: object, **__: object) -> None:
        raise UserError(f"a length penalty of {settings.length_penalty}")

    evaluated(tmp_path, length_penalty=1.5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "search", look)
    with pytest.raises(UserError, match=r"of 1\.5"):
        command.main.__wrapped__(arguments)  # type: ignore[attr-defined]
