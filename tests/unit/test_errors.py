import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import MissingFile, UserError, reported

PROJECT = Path(__file__).parents[2]


def test_what_a_person_can_mend_is_one_line_and_a_failure(capsys):
    with pytest.raises(SystemExit) as ended, reported():
        raise UserError("data/x.zip is missing")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: data/x.zip is missing\n"


def test_a_full_disk_is_one_line_and_a_failure_that_names_the_file(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended, reported():
        raise OSError(errno.ENOSPC, "No space left on device", "model.onnx")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: no space is left on the disk for model.onnx: free some and give the same command again\n"
    )
    with pytest.raises(PermissionError), reported():
        raise PermissionError(errno.EACCES, "Permission denied", "model.onnx")


def test_ctrl_c_is_one_word_and_the_status_a_shell_gives_it(capsys):
    with pytest.raises(SystemExit) as ended, reported():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(KeyError), reported():
        raise KeyError("bug")


def test_a_command_can_be_reported_as_a_whole():
    @reported()
    def command():
        raise MissingFile("gone")

    with pytest.raises(SystemExit):
        command()


def test_a_missing_file_is_also_what_python_calls_one():
    assert issubclass(MissingFile, FileNotFoundError)


@pytest.mark.parametrize("module", ["src.caption", "stages.train"])
def test_ctrl_c_while_a_command_still_imports_is_one_line(module, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    around = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, env=around, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "stopped\n"
    assert process.returncode == -signal.SIGINT


def test_somebody_elses_program_keeps_its_own_word_on_ctrl_c():
    command = "import sys; before = sys.excepthook; import src, stages; sys.exit(sys.excepthook is not before)"
    assert subprocess.run([sys.executable, "-c", command], cwd=PROJECT).returncode == 0
