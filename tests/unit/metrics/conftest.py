"""A stand-in for `java`, so that what Java may do wrong can be done on purpose and at once."""

import os

import pytest


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a `java` on the PATH that says yes to -version and otherwise runs the given lines of shell."""

    def install(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        java = folder / "java"
        java.write_text(f'#!/bin/sh\ncase "$*" in -version) exit 0;; esac\n{script}\n')
        java.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return java

    return install
