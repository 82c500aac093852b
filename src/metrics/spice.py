"""SPICE (Anderson et al. 2016): F1 over the objects, attributes and relations that caption and references speak of.

By the Java program inside pycocoevalcap. It needs Stanford CoreNLP 3.6.0, which pycocoevalcap fetches when its own
`Spice()` is first made and which no package brings: where that or Java is missing, there is a reason and no figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from src.metrics.java import JavaError, find_java, pycocoevalcap_jar
from src.metrics.scores import Measured, averaged
from src.parent import sigterm_with_parent

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class SpiceAbsent(Exception):
    """There is no SPICE here; the message says why."""


def spice(
    references: Sequence[Sequence[str]], captions: Sequence[Sequence[str]], timeout: float = 600.0
) -> list[Measured]:
    """SPICE of each model's captions, all from one start of Java; the corpus figure is the mean.

    An image of which neither caption nor references name anything scores 0.

    Args:
        references: for each image its references, as tokens joined by spaces.
        captions: for each model, for each image, its caption, likewise.
        timeout: seconds all of it may take.

    Raises:
        SpiceAbsent: Java or CoreNLP is missing, or the program failed or took longer.
    """
    images = len(references)
    asked = [
        {"image_id": number, "test": caption, "refs": list(references[number % images])}
        for number, caption in enumerate(caption for said in captions for caption in said)
    ]
    try:
        jar = pycocoevalcap_jar("spice", "spice-1.0.jar")
        missing = [name for name in CORENLP if not (jar.parent / "lib" / name).is_file()]
        if missing:
            raise SpiceAbsent(
                f"{' and '.join(missing)} missing in {jar.parent.name}/lib of pycocoevalcap: with a network, "
                "`python -m pycocoevalcap.spice.get_stanford_models` fetches CoreNLP 3.6.0"
            )
        with tempfile.TemporaryDirectory() as folder:
            question, answer = Path(folder, "captions.json"), Path(folder, "spice.json")
            question.write_text(json.dumps(asked), encoding="utf-8")
            _run([find_java(), "-Xmx8G", "-jar", str(jar), str(question), "-out", str(answer), "-silent"], jar, timeout)
            found = {entry["image_id"]: entry["scores"]["All"]["f"] for entry in json.loads(answer.read_bytes())}
        figures = [float(found[number] or 0.0) for number in range(len(asked))]
    except JavaError as error:
        raise SpiceAbsent(str(error)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpiceAbsent(f"SPICE answered nothing that can be read ({type(error).__name__}: {error})") from error
    return [averaged(figures[start : start + images]) for start in range(0, len(figures), images)]


def _run(command: list[str], jar: Path, timeout: float) -> None:
    """Run to the end, or kill it with all that it started.

    Raises:
        SpiceAbsent: it failed or took too long.
    """
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            cwd=jar.parent,
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            start_new_session=True,  # a group of its own can be killed whole
            preexec_fn=sigterm_with_parent,  # it reads no input whose end would tell it that Python was killed
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise SpiceAbsent(f"SPICE did not finish in {timeout:g} s: raise evaluate.java_timeout") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            raise SpiceAbsent(f"SPICE failed with exit status {status}: {said[-500:]}")
