"""What killed runs leave behind to be gone on with: a folder each, `<kind>-<fingerprint>`, held by one process at a
time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


def lock(folder: Path) -> FileLock:
    """What holds a folder; a crash lets go of it. It lies beside the folder, so that removing that does not remove it
    under a waiting process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def tell_of_others(folder: Path) -> None:
    """Say what was left unfinished of the kind of `folder`, with other settings; nobody else would find its
    gigabytes."""
    kind = _kind(folder)
    for other in sorted(folder.parent.glob(f"{kind}-*")):
        if other == folder or _kind(other) != kind:
            continue
        with suppress(Timeout, OSError), lock(other).acquire(timeout=0):  # one that is at work, or done by now, is not
            size = sum(file.stat().st_blocks * 512 for file in other.iterdir())
            print(
                f"{other} was left unfinished with other settings ({size / 2**20:,.0f} MiB): delete it unless you go "
                "back to them"
            )


def _kind(folder: Path) -> str:
    return folder.name.rpartition("-")[0]
