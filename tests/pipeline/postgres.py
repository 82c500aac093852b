"""A PostgreSQL server of one's own on the loopback interface, where the machine has the programs."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def programs() -> Path:
    """Where initdb and pg_ctl are; skips the test where they are not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database; the server and its files are gone afterwards."""
    bin_ = programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a test's own folder is root's alone
    runner: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder, "timeout": 120}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = _somebody()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        runner |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    data, port = folder / "data", _free_port()
    options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {port} -k {folder}"
    try:
        subprocess.run([bin_ / "initdb", "-D", data, "-A", "trust", "-U", "tuner", "-E", "UTF8"], **runner)
        subprocess.run([bin_ / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"], **runner)
        try:
            yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([bin_ / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **runner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _somebody() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL needs a user that is not root")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
