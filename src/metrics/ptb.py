"""Penn Treebank tokens, lower-case and without punctuation, as every COCO metric expects its captions.

The program and the list of punctuation are those of pycocoevalcap, so published figures stay comparable, quirks
included: brackets come out as the words -lrb- and -rrb-.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from src.metrics.java import JavaError, find_java, pycocoevalcap_jar

# pycocoevalcap's list for captions: upper-case brackets are in it, but lower-casing has already changed them.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def tokenise(captions: Sequence[str], timeout: float = 600.0) -> list[str]:
    """Each caption's tokens, joined by single spaces, all from one start of Java; aligned with `captions`.

    A line break inside a caption counts as a space, and a caption without words becomes an empty string.

    Args:
        timeout: seconds all of it may take.

    Raises:
        JavaError: Java is missing, failed, or took longer.
    """
    if not captions:
        return []
    jar = pycocoevalcap_jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    # Java ends a line at more characters than \n; str.splitlines knows all of them.
    lines = "".join(" ".join(caption.splitlines()) + "\n" for caption in captions)
    try:
        finished = subprocess.run(
            [find_java(), "-cp", str(jar), *program],
            input=lines.encode(errors="replace"),
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise JavaError(
            f"the PTB tokeniser did not finish {len(captions)} captions in {timeout:g} s: raise evaluate.java_timeout"
        ) from None
    tokenised = finished.stdout.decode().split("\n")[:-1]
    if finished.returncode or len(tokenised) != len(captions):
        said = finished.stderr.decode(errors="replace").strip()
        raise JavaError(
            f"the PTB tokeniser answered {len(tokenised)} lines for {len(captions)} captions "
            f"(exit status {finished.returncode}): {said[-2000:]}"
        )
    return [_without_punctuation(line) for line in tokenised]


def _without_punctuation(line: str) -> str:
    return " ".join(token for token in line.rstrip().split(" ") if token not in PUNCTUATION)
