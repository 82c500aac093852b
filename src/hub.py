"""Checkpoints of Hugging Face Transformers: from a folder or the hub, without pickles, code and chatter."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.errors import UserError

SECONDS = 10.0
"""How long the hub may take to answer at all."""
CONFIG = "config.json"
WEIGHTS = "*.safetensors"
FILES = [WEIGHTS, "*.json", "*.txt", "*.model", "*.jinja"]
"""Weights, configuration, tokenisers: all that is fetched."""


def fetch(
    name: str, key: str, fallback: str, parts: Sequence[str] = ("AutoModelForImageTextToText", "AutoProcessor")
) -> Path:
    """The folder that holds a checkpoint: a local one, or the hub's, downloaded now or earlier.

    Asked for a checkpoint that cannot be had, `from_pretrained` tries for half a minute; this asks the hub once.

    Args:
        name: a folder, or 'owner/model'.
        key: the parameter that names it, for the message.
        fallback: a value of that parameter that needs no download, likewise.
        parts: classes of Transformers that read a whole checkpoint of the kind, likewise.

    Raises:
        UserError: the folder holds no checkpoint in safetensors, or there is no such folder and the hub cannot be
            reached or does not give it.
    """
    folder = Path(name) if Path(name).is_dir() else _downloaded(name, key, fallback)
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{key} is {name!r}: {folder} holds no checkpoint ({CONFIG} is missing). Take one that has it; "
            f"{key}={fallback} needs none"
        )
    if not any(folder.glob(WEIGHTS)):
        classes = ", ".join(f"t.{part}" for part in parts)
        raise UserError(
            f"{key} is {name!r}: {folder} holds no weights as {WEIGHTS}, and pickles (pytorch_model.bin) are never "
            f"loaded here. Take a checkpoint that has them; or, where you trust this one, write it anew into a folder "
            f'DIR, and set {key}=DIR: python -c "import transformers as t; '
            f"[part.from_pretrained('{name}').save_pretrained('DIR') for part in ({classes})]\". "
            f"{key}={fallback} needs none"
        )
    return folder


def _downloaded(name: str, key: str, fallback: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    online = not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT)
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, local_files_only=not online))
    except HFValidationError:
        reason = "it is no hub name (owner/model) either"
    except LocalEntryNotFoundError:
        reason = f"the hub ({constants.ENDPOINT}) cannot be reached and no copy of it is here"
    except Exception as error:  # the hub's client has changed its HTTP library, and with it the errors, before
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = f"the hub ({constants.ENDPOINT}) does not give it ({said})"
    raise UserError(
        f"{key} is {name!r}: there is no such folder, and {reason}. Give a folder that holds the checkpoint (config, "
        f"safetensors, tokeniser), downloaded elsewhere, or use {key}={fallback}, which needs no download"
    )


def _answers(endpoint: str) -> bool:
    """Whether anybody is there: the hub's own client would try again for minutes.

    Raises:
        UserError: the address lacks its scheme.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise UserError(f"HF_ENDPOINT is {endpoint!r}: begin it with https://, as in https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block Transformers keeps its progress bars and advice to itself."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
