import pytest

from src.errors import MissingFile, UserError, reported


def test_what_a_person_can_mend_is_one_line_and_a_failure(capsys):
    with pytest.raises(SystemExit) as ended, reported():
        raise UserError("data/x.zip is missing")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: data/x.zip is missing\n"


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
