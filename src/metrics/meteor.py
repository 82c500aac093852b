"""METEOR 1.5 (Denkowski and Lavie 2014), by the Java program inside pycocoevalcap.

The program answers line by line on its standard streams: `SCORE ||| reference ||| ... ||| caption` gives an image's
statistics, and `EVAL ||| statistics ||| ...` then gives one figure per image and a last one for all of them. It ends
when its input closes, once its tables are loaded; on Linux it ends with a killed Python at once.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

import numpy as np

from src.metrics.java import JavaError, find_java, pycocoevalcap_jar
from src.metrics.scores import Figures, Measured, Sums
from src.parent import sigterm_with_parent

SEPARATOR = "|||"
STATISTICS = 23
# Its parameters for English (Denkowski and Lavie 2014, table 1), and what a match counts: the same word, the same stem,
# a synonym, a paraphrase.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_MATCHES = np.array([1.0, 0.6, 0.8, 0.6])


class Meteor:
    """One Java process, from the beginning of a `with` block to its end.

        with Meteor() as meteor:
            overall, per_image, _ = meteor.score(references, captions)

    It loads its tables for some seconds after the block begins: begin early, and do other work before `score`.

    Args:
        timeout: seconds one call of `score` may take.

    Raises:
        JavaError: on entering, Java or the program is missing.
    """

    def __init__(self, timeout: float = 600.0) -> None:
        self._timeout = timeout
        self._late = False

    def __enter__(self) -> Meteor:
        jar = pycocoevalcap_jar("meteor", "meteor-1.5.jar")
        command = [find_java(), "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar), "-", "-", "-stdio"]
        # A file takes what the program complains of: an unread pipe would fill and stop it.
        self._complaints: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, "-l", "en", "-norm"],
            cwd=jar.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            encoding="utf-8",
            errors="replace",
            preexec_fn=sigterm_with_parent,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def score(self, references: Sequence[Sequence[str]], captions: Sequence[str]) -> Measured:
        """METEOR of each image's caption against its references, and of the corpus.

        Args:
            references: for each image its references, tokenised.
            captions: for each image its caption, tokenised.

        Raises:
            ValueError: there is no image, or not one caption per image.
            JavaError: the program died, answered nonsense, or took longer than the timeout.
        """
        if not captions or len(references) != len(captions):
            raise ValueError(
                f"METEOR was given {len(captions)} captions for the references of {len(references)} images"
            )
        alarm = threading.Timer(self._timeout, self._give_up)
        alarm.daemon = True
        alarm.start()
        try:
            statistics = [
                self._ask("SCORE", *refs, caption) for refs, caption in zip(references, captions, strict=True)
            ]
            per_image = [float(self._ask("EVAL", *statistics))]
            per_image += [float(self._read()) for _ in statistics[1:]]
            return Measured(float(self._read()), per_image, Sums(_parts(statistics), meteor_of))
        except (OSError, EOFError, ValueError) as error:
            raise self._explain(error, len(captions)) from error
        finally:
            alarm.cancel()

    def _ask(self, *fields: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f" {SEPARATOR} ".join(map(_as_field, fields)) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("it ended")
        if line.startswith("Error"):
            raise ValueError(line.strip())
        return line.strip()

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _explain(self, error: Exception, images: int) -> JavaError:
        if self._late:
            return JavaError(
                f"METEOR did not finish {images} images in {self._timeout:g} s: raise evaluate.java_timeout"
            )
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        return JavaError(f"METEOR failed on {images} images: {error}. {said[-2000:]}")


def meteor_of(sums: Figures) -> Figures:
    """METEOR from the program's own statistics, summed over images (Denkowski and Lavie 2014, section 2).

    Args:
        sums: shape [..., 23]: words, and function words among them, of caption and reference; for each of the four
            kinds of match the matched content words of caption and reference and the matched function words of both;
            chunks; matched words of caption and reference.
    """
    words, function_words = sums[..., 0:2], sums[..., 2:4]
    kinds = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)  # kind, content or function, caption or reference
    matches = np.einsum("k,...kws->...ws", _MATCHES, kinds)
    matched = _DELTA * matches[..., 0, :] + (1 - _DELTA) * matches[..., 1, :]
    weighed = _DELTA * (words - function_words) + (1 - _DELTA) * function_words
    precision, recall = np.moveaxis(_over(matched, weighed), -1, 0)
    harmonic = _over(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    chunks, aligned = sums[..., 20], sums[..., 21:23]
    fragmentation = _over(chunks, aligned.mean(axis=-1))
    return np.asarray(harmonic * (1 - _GAMMA * fragmentation**_BETA))


def _parts(statistics: Sequence[str]) -> Figures:
    """What `meteor_of` sums, from the program's answers: the one chunk of a caption that is its reference is none."""
    parts = np.array([line.split() for line in statistics], dtype=np.float64)
    if parts.shape[1:] != (STATISTICS,):
        raise ValueError(f"it answered {parts.shape[-1]} statistics an image, not {STATISTICS}")
    whole = (parts[:, 20] == 1) & (parts[:, 21:23] == parts[:, 0:2]).all(axis=1)
    parts[whole, 20] = 0
    return parts


def _over(part: Figures, whole: Figures) -> Figures:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _as_field(text: str) -> str:
    """Text that is neither split nor ends the line; spaces are put right as pycocoevalcap does."""
    return " ".join(text.splitlines()).replace(SEPARATOR, "").replace("  ", " ")
