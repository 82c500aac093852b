"""The folder an export leaves: all that is needed to caption a picture without this repository.

model.onnx        pixels in, words out: CNN, decoder and beam search, weights included
vocabulary.json   what each word id says
config.json       how pixels are made, how captions are searched for, and the captioner it came from
caption.py        a stand-alone example that needs ONNX Runtime, Pillow and NumPy
README.md         the same for people
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from src.config import Decode
from src.data.vocabulary import VOCABULARY_FILE
from src.deployment.graph import INPUT, NEVER, OUTPUTS, Graph
from src.deployment.quantised import quantise
from src.errors import UserError
from src.files import write_folder, write_json
from src.models.captioner import Captioner
from src.models.ensemble import Ensemble

FORMAT = 1
MODEL_FILE = "model.onnx"
CONFIG_FILE = "config.json"
EXAMPLE = Path(__file__).with_name("caption.py")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(
    captioner: Captioner,
    folder: Path,
    settings: Decode,
    pictures: Sequence[UInt8[np.ndarray, "row column 3"]] | None = None,
) -> None:
    """Write the folder, in place of an old export.

    Args:
        settings: the search that becomes part of the model.
        pictures: None keeps single precision; otherwise weights become 8-bit integers, with these photographs showing
            what ranges the CNN's activations have.

    Raises:
        UserError: a package is missing, the captioner has no encoder or more than one decoder, or `folder` holds
            something else.
    """
    require_packages()
    if captioner.encoder is None:
        raise UserError("this captioner was loaded without its encoder: there is nothing to see pictures with")
    if isinstance(captioner.decoder, Ensemble):
        raise UserError(
            f"this captioner is {len(captioner.decoder.members)} decoders that speak as one, and a graph holds one: "
            "export a model that was trained with train.members=1"
        )
    folder = folder.resolve()  # what a link leads to is replaced, not the link
    if folder == Path.cwd():
        raise UserError(
            f"{folder} is the working folder, which an export would take the place of: name one in it (--out)"
        )
    if folder.exists() and not (folder.is_dir() and (_exported(folder) or not any(folder.iterdir()))):
        raise UserError(f"{folder} holds something else than an export: name another folder (--out)")
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(write_folder(folder))
        except OSError as error:
            raise UserError(f"{folder} cannot be made ({error.strerror}): name another folder (--out)") from None
        graph = Graph(captioner.encoder, captioner.decoder, settings)
        write_graph(graph, temporary / MODEL_FILE)
        if pictures is not None:
            single = (temporary / MODEL_FILE).replace(temporary / "single.onnx")
            quantise(single, temporary / MODEL_FILE, pictures)
            single.unlink()
        side = captioner.encoder.image_size
        captioner.vocabulary.save(temporary / VOCABULARY_FILE)
        write_json(
            temporary / CONFIG_FILE,
            {
                "format": FORMAT,
                "captioner": captioner.digest(),
                "weights": "fp32" if pictures is None else "int8",
                "pixels": {"side": side, "layout": "image row column 3, RGB, uint8", "resize": "squash, bicubic"},
                "search": settings.model_dump(exclude={"batch_images", "rerank", "rerank_weight"}),
                "nothing": NEVER,
            },
        )
        shutil.copyfile(EXAMPLE, temporary / EXAMPLE.name)
        (temporary / "README.md").write_text(
            _readme(captioner, settings, side, quantised=pictures is not None), "utf-8"
        )


def _exported(folder: Path) -> bool:
    """Whether an export lies there: other models are called model.onnx too."""
    try:
        return "captioner" in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def write_graph(graph: Graph, target: Path) -> None:
    """The graph as one ONNX file with its weights; the number of pictures stays free."""
    side = graph.looker.encoder.image_size
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own insides
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("image", min=1)},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(target)


def require_packages() -> None:
    """Raises UserError, saying what to install, where something is missing that only an export needs."""
    from importlib.util import find_spec

    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"an export needs packages that are not installed: pip install {' '.join(missing)}")


def _readme(captioner: Captioner, settings: Decode, side: int, *, quantised: bool) -> str:
    weights = "8-bit integers, for processors" if quantised else "single precision"
    shape = captioner.provenance
    beams = settings.beam_size
    ids = "ids into `vocabulary.json` (specials, then words), best caption first; 0 behind its end"
    scores = f"what captions are ranked by; {NEVER:.0e} where there is none"
    return f"""# An image captioner

{shape.encoder} and a {captioner.name} decoder with attention over {shape.rows} x {shape.columns} regions, searched with
{beams} beams, in one ONNX file ({weights}). It says {len(captioner.vocabulary) - 4:,} words.

    pip install onnxruntime pillow numpy
    python caption.py photo.jpg
    python caption.py photo.jpg --alternatives {beams} --json

`caption.py` is short and meant to be read: `Captioner` is all that another program needs.

| | name | type and shape | meaning |
|---|---|---|---|
| in | `pixels` | uint8 `[image, {side}, {side}, 3]` | upright RGB, the whole picture scaled to a square (bicubic) |
| out | `words` | int64 `[image, {beams}, {settings.max_words}]` | {ids} |
| out | `log_probabilities` | float32 `[image, {beams}]` | of the caption, natural logarithm |
| out | `scores` | float32 `[image, {beams}]` | {scores} |

Any number of pictures may come at once. `config.json` names the captioner this was made from.
"""
