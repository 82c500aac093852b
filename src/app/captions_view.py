"""The captions of a picture as the page shows them: the picture, and below it a card per model, its words to press."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from PIL import Image

from src.app.answers import Answer, Said
from src.app.looks import place
from src.app.pictures import embedded

HINT = "Press a word to see where the model looked as it said it."
EMPTY = """<div class="cl-empty">
<p>Drop a picture on the left, paste one, or take a photograph.</p>
<p>Each model says what it sees; press one of its words to see where it looked.</p>
</div>"""


def captions_view(picture: Image.Image, answers: Sequence[Answer], notes: Sequence[str] = ()) -> str:
    """HTML of a picture with its captions.

    Args:
        notes: what the visitor should know besides: a model that could not be loaded.
    """
    name = answers[0].said[0].sentence if answers and answers[0].said else ""
    return f"""<div class="cl-result">
<div class="cl-look">
<figure class="cl-stage">
<img src="{embedded(picture)}" alt="Your picture. {escape(name)}">
<canvas aria-hidden="true"></canvas>
</figure>
<p class="cl-status" role="status" aria-live="polite" data-hint="{HINT}">{HINT}</p>
</div>
<div class="cl-cards">{"".join(_card(answer) for answer in answers)}
{"".join(note_view(note) for note in notes)}</div>
</div>"""


def refusal_view(message: str) -> str:
    """HTML that says why a file was not captioned, read out at once by a screen reader."""
    return f'<div class="cl-refusal" role="alert"><p>{escape(message)}</p></div>'


def note_view(message: str) -> str:
    """HTML of a remark: what is not there yet, and what to do about it; `code` between backquotes."""
    parts = [f"<code>{escape(part)}</code>" if odd % 2 else escape(part) for odd, part in enumerate(message.split("`"))]
    return f'<p class="cl-note">{"".join(parts)}</p>'


def _card(answer: Answer) -> str:
    badge = '<span class="cl-badge">champion</span>' if answer.champion else ""
    first, *others = answer.said or (Said(()),)
    play = '<button type="button" class="cl-play">Play word by word</button>' if first.looks and first.words else ""
    sure = "" if first.certainty is None else f" · {first.certainty:.0%} sure of each word"
    silent = "" if first.looks else " · where it looked is not known"
    more = (
        f"<details class='cl-more'><summary>{len(others)} more</summary>"
        f"<ol>{''.join(f'<li>{_spoken(one, answer)}</li>' for one in others)}</ol></details>"
        if others
        else ""
    )
    return f"""<article class="cl-card cl-{escape(answer.name)}" aria-label="{escape(answer.name)}">
<h3>{escape(answer.name)} {badge}</h3>
{_spoken(first, answer)}
<p class="cl-small">{_time(answer.seconds)} · {escape(answer.origin)}{sure}{silent}</p>
{play}{more}
</article>"""


def _spoken(said: Said, answer: Answer) -> str:
    """A caption: words to press where it is known what they looked at, plain text elsewhere."""
    if not said.words:
        return '<p class="cl-caption">It has nothing to say.</p>'
    if said.looks is None:
        return f'<p class="cl-caption">{escape(said.sentence)}</p>'
    words = " ".join(
        _word(word, look, position == 0, answer)
        for position, (word, look) in enumerate(zip(said.words, said.looks, strict=True))
    )
    strongest = max((share for look in said.looks for share in look), default=0.0)
    return (
        f'<p class="cl-caption" data-rows="{answer.rows}" data-columns="{answer.columns}" '
        f'data-strongest="{strongest:.5f}">{words}.</p>'
    )


def _word(word: str, look: Sequence[float], first: bool, answer: Answer) -> str:
    shown = word[:1].upper() + word[1:] if first else word
    shares = json.dumps([round(share, 4) for share in look], separators=(",", ":"))
    where = place(look, answer.rows, answer.columns)
    return (
        f'<button type="button" class="cl-word" aria-pressed="false" data-look="{shares}" '
        f'data-where="{where}">{escape(shown)}</button>'
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
