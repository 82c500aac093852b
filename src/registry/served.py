"""The registered model as MLflow loads and serves it: pictures in, captions out.

    mlflow models serve -m models:/captioner@champion --env-manager local --port 5001
    (echo -n '{"dataframe_records": [{"image": "'; base64 -w0 photo.jpg; echo '"}]}') > question.json
    curl -H 'Content-Type: application/json' -d @question.json localhost:5001/invocations

MLflow copies this file into every registered model, with `src` beside it, and runs it where the model is loaded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel
from mlflow.pyfunc.model import PythonModelContext
from PIL import Image

MOST_IMAGES = 64
"""Of one request."""
BATCH = 16
"""Images captioned at once."""
MOST_PIXELS = 64_000_000
"""Of the images captioned at once, where they are several; a small file may hold as many."""
MOST_BYTES = 32 * 2**20
"""Of one image, encoded as JPEG, PNG, ..."""


class Served(PythonModel):  # type: ignore[misc]
    """Captions for the column `image`: each an image file's bytes in base64."""

    def load_context(self, context: PythonModelContext) -> None:
        bundle, baseline = Path(context.artifacts["bundle"]), (context.model_config or {}).get("baseline")
        self._captions = _blip(bundle, baseline) if baseline else _recurrent(bundle)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, str]]:
        """One {'caption': sentence} per row.

        Raises:
            MlflowException: a row is no image, or there are too many; a server answers 400.
        """
        column = list(model_input["image"])
        if len(column) > MOST_IMAGES:
            raise _refused(f"{len(column)} images in one request: send {MOST_IMAGES} at the most")
        # Decoded a batch at a time: the pictures of a whole request would take gigabytes.
        pictures = (_picture(value, number) for number, value in enumerate(column))
        return [{"caption": caption} for batch in _batches(pictures) for caption in self._captions(batch)]


def _batches(pictures: Iterable[Image.Image]) -> Iterator[list[Image.Image]]:
    batch: list[Image.Image] = []
    pixels = 0
    for picture in pictures:
        size = picture.width * picture.height
        if batch and (len(batch) == BATCH or pixels + size > MOST_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(picture)
        pixels += size
    if batch:
        yield batch


def _recurrent(bundle: Path) -> Callable[[Sequence[Image.Image]], list[str]]:
    from src.caption import caption
    from src.models.captioner import Captioner

    captioner = Captioner.load(bundle)
    return lambda pictures: [found[0].sentence for found in caption(captioner, pictures, captioner.decode)]


def _blip(folder: Path, settings: dict[str, Any]) -> Callable[[Sequence[Image.Image]], list[str]]:
    import torch

    from src import config
    from src.models.baseline import Baseline, speakable

    device = torch.device("cpu")
    spoke = config.Baseline.model_validate(settings)
    return Baseline.read(folder, speakable(spoke, device)).ready(device).caption


def _picture(value: object, number: int) -> Image.Image:
    from src.data.images import ImageError, decode

    if isinstance(value, str):
        if len(value) > MOST_BYTES * 4 // 3 + 4:
            raise _refused(f"image {number} has more than {MOST_BYTES >> 20} MiB: send a smaller one")
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refused(f"image {number} is not base64 ({error})") from None
    if not isinstance(value, bytes) or len(value) > MOST_BYTES:
        raise _refused(f"image {number} is not an image file of at most {MOST_BYTES >> 20} MiB in base64")
    try:
        return decode(value, f"image {number}")
    except ImageError as error:
        raise _refused(str(error)) from None


def _refused(reason: str) -> MlflowException:
    return MlflowException(reason, error_code=INVALID_PARAMETER_VALUE)


set_model(Served())
