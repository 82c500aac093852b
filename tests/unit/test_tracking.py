import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from src import store, tracking
from src.config import Settings
from src.curves import Curves

SETTINGS = Settings()
HASHES = {"dataset": "a" * 64, "embeddings": "b" * 64}


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One fresh store for all tests here: each makes runs of its own."""
    root = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_EXP_NAME", raising=False)
        yield root


def recording(**changes: Any) -> Any:
    return tracking.run("train", **({"name": "LSTM", "settings": SETTINGS, "hashes": HASHES} | changes))


def stored(run_id: str) -> Any:
    return store.connect().get_run(run_id)


def points(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.connect().get_metric_history(run_id, name)]


def artifact(run_id: str, name: str) -> str:
    return Path(store.connect().download_artifacts(run_id, name)).read_text(encoding="utf-8")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def interrupted_after(steps: int, **changes: Any) -> str:
    with pytest.raises(KeyboardInterrupt), recording(**changes) as run:
        for step in range(1, steps + 1):
            run.log(step, {"train_loss": 1 / step, "val_CIDEr": step / 10})
        raise KeyboardInterrupt
    return run.id


def test_a_run_carries_every_parameter() -> None:
    with recording() as run:
        pass
    assert stored(run.id).data.params == {name: str(value) for name, value in SETTINGS.flat().items()}


def test_a_run_names_what_it_read() -> None:
    with recording() as run:
        pass
    tags = stored(run.id).data.tags
    assert (tags["dataset.digest"], tags["embeddings.digest"]) == ("a" * 64, "b" * 64)
    assert {(entry.dataset.name, entry.tags[0].value) for entry in stored(run.id).inputs.dataset_inputs} == {
        ("sample", "dataset"),
        ("efficientnet_lite0", "embeddings"),
    }


def test_a_run_names_the_dvc_experiment_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "sunny-gull")
    with recording(name="GRU") as run:
        pass
    assert stored(run.id).info.run_name == "GRU (sunny-gull)"
    assert stored(run.id).data.tags["dvc.experiment"] == "sunny-gull"


def test_a_run_describes_code_and_machine() -> None:
    with recording(tags={"note": "a trial"}) as run:
        pass
    tags = stored(run.id).data.tags
    assert {"mlflow.source.git.commit", "git.uncommitted_code", "torch", "python", "cpu", "gpu", "note"} <= tags.keys()


def test_a_point_lands_in_mlflow_and_in_the_csv(tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    with recording(curves=file) as run:
        run.log(1, {"train_loss": 3.25})
        run.log(2, {"train_loss": 0.1, "val_CIDEr": 0.7})
    assert points(run.id, "train_loss") == [(1, 3.25), (2, 0.1)]
    assert rows(file) == [
        {"step": "1", "train_loss": "3.25", "val_CIDEr": ""},
        {"step": "2", "train_loss": "0.1", "val_CIDEr": "0.7"},
    ]


def test_a_run_that_nobody_noted_the_id_of_is_found_by_its_ticket() -> None:
    first = interrupted_after(1, ticket="a1")
    with recording(ticket="a1") as again, recording(ticket="b2") as another:
        assert again.id == first != another.id
    assert "events.jsonl" not in {file.path for file in store.connect().list_artifacts(first)}
    store.connect().delete_run(first)
    with recording(ticket="a1") as anew:
        assert anew.id != first


def test_a_resumed_run_is_the_same_run() -> None:
    run_id = interrupted_after(1)
    with recording(resume=run_id) as run:
        assert stored(run_id).info.status == "RUNNING"
    assert run.id == run_id
    assert stored(run_id).info.status == "FINISHED"
    assert "stopped_by" not in stored(run_id).data.tags


def test_a_resumed_run_does_not_repeat_a_point() -> None:
    run_id = interrupted_after(3)
    with recording(resume=run_id) as run:
        for step in (2, 3, 4):
            run.log(step, {"train_loss": 1 / step, "val_CIDEr": step / 10})
    assert points(run_id, "train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


def test_a_resumed_run_restores_the_csv_that_dvc_deleted(tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight.csv", tmp_path / "resumed.csv"
    interrupted_after(4, curves=straight)
    run_id = interrupted_after(3, curves=resumed)
    resumed.unlink()
    with recording(resume=run_id, curves=resumed) as run:
        run.summary({"best_val_CIDEr": 0.3})
        run.log(4, {"train_loss": 0.25, "val_CIDEr": 0.4})
    assert resumed.read_text() == straight.read_text()


def test_final_figures_stay_out_of_a_resumed_runs_curves(tmp_path: Path) -> None:
    with recording() as run:
        run.summary({"best_val_CIDEr": 0.3})
    with recording(resume=run.id, curves=tmp_path / "curves.csv"):
        pass
    assert rows(tmp_path / "curves.csv") == []


def test_a_parameter_changed_at_resumption_is_said() -> None:
    run_id = interrupted_after(1)
    changed = Settings.model_validate({"train": {"processes": 2}})
    with recording(settings=changed, resume=run_id):
        pass
    assert "train.processes = 2, begun with 1" in artifact(run_id, "events.jsonl")


def test_a_run_that_the_store_lost_is_replaced_by_one_that_says_so() -> None:
    lost = "0123456789abcdef" * 2
    with recording(resume=lost) as run:
        pass
    assert run.id != lost
    assert lost in artifact(run.id, "events.jsonl")


def test_events_are_one_json_object_a_line_and_survive_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), recording() as run:
        run.event(2, "learning rate halved to 5e-4")
        raise KeyboardInterrupt
    with recording(resume=run.id) as again:
        again.event(2, "learning rate halved to 5e-4")
        again.event(5, "stopped early: no progress for 3 epochs")
    events = [json.loads(line) for line in artifact(run.id, "events.jsonl").splitlines()]
    assert [(event["step"], event["text"]) for event in events] == [
        (2, "learning rate halved to 5e-4"),
        (5, "stopped early: no progress for 3 epochs"),
    ]


def test_a_later_stage_reads_the_events_and_none_of_a_run_that_is_not_there() -> None:
    with recording() as run:
        run.event(2, "learning rate halved to 5e-4")
        run.event(2, "stopped")
    assert tracking.events(run.id) == [(2, "learning rate halved to 5e-4"), (2, "stopped")]
    assert tracking.events("0" * 32) == []


@pytest.mark.parametrize("cut", [b'{"step": 3, "ti', '{"step": 3, "text": "\N{MULTIPLICATION SIGN}'.encode()[:-1]])
def test_an_event_cut_short_by_a_kill_does_not_stop_resumption(cut: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), recording() as run:
        run.event(2, "learning rate halved")
        (tmp_path / "events.jsonl").write_bytes(artifact(run.id, "events.jsonl").encode() + cut)
        run.artifact(tmp_path / "events.jsonl")
        raise KeyboardInterrupt
    with recording(resume=run.id) as again:
        again.event(3, "stopped early")
    events = [json.loads(line) for line in artifact(run.id, "events.jsonl").splitlines()]
    assert [event["step"] for event in events] == [2, 3]


def test_an_error_ends_a_run_as_failed_and_says_why() -> None:
    with pytest.raises(ZeroDivisionError), recording() as run:
        _ = 1 / 0
    assert stored(run.id).info.status == "FAILED"
    assert stored(run.id).data.tags["stopped_by"] == "ZeroDivisionError: division by zero"


def test_ctrl_c_ends_a_run_as_killed() -> None:
    assert stored(interrupted_after(1)).info.status == "KILLED"


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["done", "stopped"])
def test_a_run_that_others_still_record_is_not_ended_by_who_leaves_first(error: BaseException | None) -> None:
    with pytest.raises(KeyboardInterrupt) if error else nullcontext(), recording(goes_on=lambda: True) as run:
        if error:
            raise error
    assert stored(run.id).info.status == "RUNNING"
    assert "stopped_by" not in stored(run.id).data.tags


def test_sigterm_ends_a_run_as_killed() -> None:
    with pytest.raises(SystemExit) as end, recording() as run:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert end.value.code == 128 + signal.SIGTERM
    assert stored(run.id).info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_somebody_elses_sigterm_handler_is_left_alone() -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with recording() as run:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert heard == [signal.SIGTERM]
    assert stored(run.id).info.status == "FINISHED"


def test_a_store_that_fails_at_the_end_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object) -> None:
        raise ConnectionError("the server is gone")

    with pytest.raises(ZeroDivisionError), recording() as run:
        monkeypatch.setattr(type(run), "tag", gone)
        _ = 1 / 0


def test_a_later_stage_adds_to_a_run_without_reopening_it(tmp_path: Path) -> None:
    with recording() as run:
        run.log(1, {"train_loss": 1.0})
    ended = stored(run.id).info.end_time
    tracking.attach(run.id, name="LSTM", settings=SETTINGS).summary({"test_CIDEr": 0.61})
    assert (stored(run.id).info.status, stored(run.id).info.end_time) == ("FINISHED", ended)
    assert stored(run.id).data.metrics["test_CIDEr"] == 0.61


def test_a_model_trained_elsewhere_gets_one_stand_in_here() -> None:
    elsewhere = "fedcba9876543210" * 2
    evaluated = tracking.attach(elsewhere, name="LSTM", settings=SETTINGS)
    promoted = tracking.attach(elsewhere, name="LSTM", settings=SETTINGS)
    assert evaluated.id == promoted.id
    assert stored(evaluated.id).data.tags["captionlab.continues"] == elsewhere
    assert stored(evaluated.id).data.params["model.rnn"] == "lstm"


def test_a_later_figure_replaces_the_earlier() -> None:
    with recording() as run:
        run.summary({"test_CIDEr": 0.5, "test_METEOR": 0.2})
        run.summary({"test_CIDEr": 0.6})
    assert stored(run.id).data.metrics["test_CIDEr"] == 0.6
    page = stored(run.id).data.tags["mlflow.note.content"]
    assert "| test_CIDEr | 0.6000 |" in page
    assert "| test_METEOR | 0.2000 |" in page


def test_a_final_figure_cannot_take_a_curves_name() -> None:
    with recording() as run:
        run.log(1, {"val_CIDEr": 0.4})
        with pytest.raises(ValueError, match="val_CIDEr"):
            run.summary({"val_CIDEr": 0.4})


def test_a_table_logged_again_replaces_its_rows() -> None:
    with recording() as run:
        run.table([{"image": "1.jpg", "caption": "a dog"}], "examples.json")
        run.table([{"image": "1.jpg", "caption": "a brown dog"}], "examples.json")
    table = json.loads(artifact(run.id, "examples.json"))
    assert table == {"columns": ["image", "caption"], "data": [["1.jpg", "a brown dog"]]}
    listed = json.loads(stored(run.id).data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "examples.json", "type": "table"}]


def test_files_and_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "config.json").write_text("{}")
    (tmp_path / "note.txt").write_text("hello")
    with recording() as run:
        run.artifact(tmp_path / "bundle", "model")
        run.artifact(tmp_path / "note.txt")
    assert artifact(run.id, "model/config.json") == "{}"
    assert artifact(run.id, "note.txt") == "hello"


def test_system_metrics_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SAMPLING_SECONDS", 0.05)
    with recording() as run:
        time.sleep(0.5)
    assert "system/cpu_utilization_percentage" in stored(run.id).data.metrics


def test_a_silent_run_takes_everything_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    run: tracking.Run = tracking.Silent()
    run.log(1, {"train_loss": 1.0})
    run.event(1, "nothing")
    run.summary({"test_CIDEr": 1.0})
    run.tag("name", "value")
    run.artifact(tmp_path)
    run.text("text", "file.txt")
    run.table([{"column": 1}], "table.json")
    assert run.id == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_former_csv_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = Curves(tmp_path / "curves.csv")
    curves.add(1, {"train_loss": 1.0})
    curves.write()
    former = (tmp_path / "curves.csv").read_text()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    curves.add(2, {"train_loss": 0.5})
    with pytest.raises(OSError, match="No space left"):
        curves.write()
    assert (tmp_path / "curves.csv").read_text() == former
