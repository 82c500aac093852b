"""A commit of this repository in a temporary folder, with the data and models that DVC's cache has of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src import tracking
from src.errors import UserError
from src.files import repository_root

CACHE = "cache-of-the-repository"
"""Name under which a checkout knows the cache of the repository it came from: a cache is laid out as a remote is."""


class Checkout:
    """A working copy that may be changed and thrown away; the repository and its stores stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def switch(self, commit: str) -> None:
        """Raises UserError: the repository does not have the commit."""
        try:
            git(self.folder, "checkout", "--quiet", "--force", "--detach", commit)
        except subprocess.CalledProcessError as error:
            raise UserError(f"commit {commit} is not in this repository: fetch it first ({_last(error)})") from None

    def fetch(self, targets: Sequence[str]) -> None:
        """Bring outputs and data of the commit, from the repository's cache or else from its DVC remote.

        Raises:
            UserError: neither has them.
        """
        try:
            self.dvc("pull", "--force", "--remote", CACHE, *targets)
        except subprocess.CalledProcessError:
            try:
                self.dvc("pull", "--force", *targets)
            except subprocess.CalledProcessError as error:
                raise UserError(f"{', '.join(targets)}: not in DVC's cache or remote ({_last(error)})") from None

    def dvc(self, *arguments: str, shown: bool = False, **variables: str) -> None:
        """Run DVC here, with this interpreter as `python` and an MLflow store of the checkout's own."""
        apart = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DVC_", "MLFLOW_", "GIT_")) and name != "PYTHONPATH"
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env=apart | {"PATH": path, "DVC_NO_ANALYTICS": "1"} | variables,
            check=True,
            text=True,
            stdout=None if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
        )


@contextmanager
def checkout() -> Iterator[Checkout]:
    """A clone that shares Git's objects with the repository, and knows its DVC cache; gone when the block ends.

    Raises:
        UserError: this is no Git and DVC repository.
    """
    root = repository_root()
    try:
        cache = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, check=True, capture_output=True, text=True
        ).stdout.strip()
        with (
            tracking.sigterm_raises(),  # or it would leave the clone behind
            tempfile.TemporaryDirectory(prefix="captionlab-", ignore_cleanup_errors=True) as temporary,
        ):
            folder = Path(temporary).resolve() / "repository"
            git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
            made = Checkout(folder)
            made.switch(git(root, "rev-parse", "HEAD"))
            made.dvc("remote", "add", "--local", CACHE, str((root / cache).resolve()))
            yield made
    except subprocess.CalledProcessError as error:
        raise UserError(f"{root}: {' '.join(error.cmd[:4])} failed ({_last(error)})") from None


def git(folder: Path, *arguments: str) -> str:
    """What Git prints. Raises CalledProcessError."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _last(error: subprocess.CalledProcessError) -> str:
    lines = (error.stderr or "see above").strip().splitlines()
    return lines[-1] if lines else "no message"
