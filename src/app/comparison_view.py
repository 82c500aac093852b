"""The comparison of the models as the page shows it: a bar per model and metric, its interval drawn over it."""

from __future__ import annotations

from html import escape

from src.app.captions_view import note_view
from src.app.comparison import Bar, Comparison, Pair
from src.app.runs import RunRow

NAMES = {"semantic_similarity": "Semantic similarity", "ROUGE": "ROUGE-L"}
SURE = 0.05


def comparison_view(found: Comparison) -> str:
    """HTML of an evaluation: who is champion and why, a panel per metric, and which differences are more than luck."""
    images = f" on {found.images:,} test images" if found.images else ""
    champion = (
        f'<p class="cl-lead"><span class="cl-badge">champion</span> {escape(found.champion)}, '
        "when these figures were promoted</p>"
        if found.champion
        else ""
    )
    reasons = "".join(f"<li>{escape(reason[:1].upper() + reason[1:])}.</li>" for reason in found.reasons)
    panels = "".join(_panel(metric, bars) for metric, bars in found.bars.items())
    return f"""{champion}<ul class="cl-small">{reasons}</ul>
<h3>Figures{images}</h3>
<p class="cl-small">More is better. The thin line is the 95 % interval: where lines overlap widely, the difference may
be luck.</p>
<div class="cl-panels">{panels}</div>
{_differences(found.pairs)}
{_others(found)}"""


def runs_view(rows: tuple[RunRow, ...]) -> str:
    """HTML of the recent runs of the store, the newest first."""
    if not rows:
        return note_view("No run is recorded yet. Run `dvc repro` or `make repro` to train one.")
    body = "".join(
        f'<tr><th scope="row" class="cl-name cl-{escape(row.model)}">{escape(row.name)}</th>'
        f'<td class="cl-label">{escape(row.kind)}</td><td class="cl-label">'
        f'<span class="cl-state cl-{escape(row.status.lower())}" title="{escape(row.why)}">'
        f"{escape(row.status.lower())}</span></td><td>{_number(row.val)}</td><td>{_number(row.test)}</td>"
        f"<td>{_duration(row.seconds)}</td><td>{row.started:%Y-%m-%d %H:%M}</td></tr>"
        for row in rows
    )
    return f"""<div class="cl-scroll" tabindex="0" role="region" aria-label="Recent runs"><table class="cl-table">
<thead><tr><th>run</th><th class="cl-label">kind</th><th class="cl-label">state</th><th>validation CIDEr</th>
<th>test CIDEr</th><th>time</th><th>started (UTC)</th></tr></thead><tbody>{body}</tbody></table></div>"""


def _panel(metric: str, bars: tuple[Bar, ...]) -> str:
    most = max(max(bar.value, bar.interval[1] if bar.interval else 0.0) for bar in bars) or 1.0
    rows = "".join(_bar(bar, most) for bar in bars)
    return f'<section class="cl-panel"><h4>{escape(NAMES.get(metric, metric))}</h4>{rows}</section>'


def _bar(bar: Bar, most: float) -> str:
    whisker, told = "", ""
    if bar.interval:
        low, high = (100 * max(0.0, end) / most for end in bar.interval)
        whisker = f'<i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        told = f" ({bar.interval[0]:.3f} to {bar.interval[1]:.3f})"
    value = f"<b>{bar.value:.3f}</b>" if bar.best else f"{bar.value:.3f}"
    return (
        f'<div class="cl-bar cl-{escape(bar.model)}"><span class="cl-name">{escape(bar.model)}</span>'
        f'<span class="cl-track" aria-hidden="true"><span style="width:{100 * max(0.0, bar.value) / most:.1f}%"></span>'
        f'{whisker}</span><span class="cl-value" title="95 %{told}">{value}</span></div>'
    )


def _differences(pairs: tuple[Pair, ...]) -> str:
    if not pairs:
        return ""
    items = "".join(f"<li>{_difference(pair)}</li>" for pair in pairs)
    return f"<h3>Better, or lucky?</h3><ul>{items}</ul>"


def _difference(pair: Pair) -> str:
    ahead, behind = (pair.first, pair.second) if pair.difference >= 0 else (pair.second, pair.first)
    p = "p &lt; 0.001" if pair.p < 0.001 else f"p = {pair.p:.3f}"
    verdict = "more than the luck of these images" if pair.p < SURE else "which may be the luck of these images"
    return f"{escape(ahead)} is ahead of {escape(behind)} by {abs(pair.difference):.3f} CIDEr: {verdict} ({p})."


def _others(found: Comparison) -> str:
    if not found.others:
        return ""
    models = list(dict.fromkeys(model for of_model in found.others.values() for model in of_model))
    head = "".join(f'<th scope="col" class="cl-name cl-{escape(model)}">{escape(model)}</th>' for model in models)
    body = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th>'
        + "".join(f"<td>{_number(values.get(model))}</td>" for model in models)
        + "</tr>"
        for name, values in found.others.items()
    )
    return f"""<h3>How they speak</h3><div class="cl-scroll" tabindex="0" role="region" aria-label="How they speak">
<table class="cl-table"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"""


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 or (value == int(value) and value > 1) else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes}:{seconds:02d} min"
