"""Checkpoints of the Hugging Face hub: fetched once, and not waited for where there is no way to them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.errors import UserError

SECONDS = 10.0
"""How long the hub may take to answer at all."""
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""Weights without pickles, configuration, tokenisers; no code."""


def fetch(checkpoint: str) -> Path:
    """The folder that holds a checkpoint: a local one, or the hub's, downloaded now or earlier.

    Raises:
        UserError: there is no such folder, and the hub cannot be reached or has no such checkpoint.
    """
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    online = not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT)
    try:
        return Path(snapshot_download(checkpoint, allow_patterns=FILES, local_files_only=not online))
    except HFValidationError as error:
        reason = str(error)
    except LocalEntryNotFoundError:
        reason = f"the hub ({constants.ENDPOINT}) cannot be reached and no copy of it is here"
    except HfHubHTTPError as error:
        reason = str(error).splitlines()[0]
    raise UserError(
        f"baseline.checkpoint is {checkpoint!r}: there is no such folder, and {reason}. Give a folder that holds the "
        "checkpoint (config, safetensors, processor), or use baseline.checkpoint=tiny, which needs no download"
    )


def _answers(endpoint: str) -> bool:
    """Whether anybody is there: the hub's own client would try again for minutes."""
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def quietly() -> Iterator[None]:
    """Transformers without its progress bars and advice."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
