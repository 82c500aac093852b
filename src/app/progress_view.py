"""Training, resources and searches as the page shows them: curves, and where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from src.app.captions_view import note_view
from src.app.charts import Line, chart
from src.app.runs import SILENT_SECONDS, Course, History
from src.app.trials import StudyRow, TrialRow
from src.contenders import ORDER
from src.tune.table import shown

TRAINING = {
    "Validation CIDEr": ("val_CIDEr",),
    "Loss, nats per word; dashed while training": ("val_loss", "train_loss"),
    "Learning rate": ("learning_rate",),
}
"""Charts and their curves; of two the second stands back."""
RESOURCES = {
    "Captions a second": ("captions_per_second",),
    "Most memory, MiB": ("memory_peak_MiB",),
    "Processor, % of a core": ("cpu_percent",),
    "Share of time waiting for data": ("wait_share",),
    "GPU, %": ("gpu_percent",),
    "Most GPU memory, MiB": ("gpu_memory_peak_MiB",),
}
TRIALS = 60
"""Rows of a search's table."""
ALT = {
    "history": "What each trial reached",
    "intermediate-values": "Trials epoch by epoch",
    "parallel-coordinates": "What the best trials share",
    "importances": "Which parameters matter",
}


def training_view(history: History) -> str:
    """HTML of the curves of the runs that train now, or trained last."""
    if not history.courses:
        return note_view(
            "Nothing has been trained yet. While `dvc repro` or `python -m src.tune` runs, its curves grow here."
        )
    return _standing(history) + _charts(history.courses, TRAINING)


def resources_view(history: History) -> str:
    """HTML of what the same runs took of the machine, epoch by epoch."""
    if not history.courses:
        return note_view("No run has been measured yet. Run `dvc repro` to train one.")
    return _standing(history) + _charts(history.courses, RESOURCES)


def search_view(studies: Sequence[StudyRow]) -> str:
    """HTML of the first search: how it went, trial by trial, and what it found."""
    if not studies:
        return note_view(
            "No search for better parameters has begun. `python -m src.tune` begins one, its trials appear here."
        )
    study = studies[0]
    states = Counter(trial.state for trial in study.trials)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    best = study.best
    lead = f"The best is trial {best.number} with validation CIDEr {best.value:.3f}. " if best else ""
    reached = {
        state: [
            (float(trial.number), trial.value)
            for trial in study.trials
            if trial.state == state and trial.value is not None
        ]
        for state in ("complete", "pruned", "running")
    }
    lines = [
        Line("best so far", "best", [(float(number), value) for number, value in study.best_so_far()]),
        *(Line(state, state, points, dots=True) for state, points in reached.items() if points),
    ]
    pictures = "".join(
        figure_view(f"search-figures/{study.name}/{name}.png", ALT.get(name, name)) for name in study.figures
    )
    command = f"<p>Train the best to the end: <code>{escape(study.command)}</code></p>" if study.command else ""
    others = f" Other searches that are kept: {len(studies) - 1}." if len(studies) > 1 else ""
    return f"""<p class="cl-lead">{lead}<span class="cl-small">{len(study.trials)} trials: {told}.{others}</span></p>
{command}
<div class="cl-charts">{chart("Validation CIDEr of each trial", lines, "trial")}</div>{_trials(study)}{pictures}"""


def figure_view(address: str, alt: str) -> str:
    """HTML of a picture that a stage has drawn, on white in the dark too."""
    picture = f'<img src="{escape(address)}" alt="{escape(alt)}" loading="lazy">'
    return f'<a class="cl-figure" href="{escape(address)}" target="_blank">{picture}</a>'


def _standing(history: History) -> str:
    lines = []
    for course in history.courses:
        run = course.run
        epochs = f"epoch {course.epoch}" + (f" of {run.epochs}" if run.epochs else "")
        if not run.running:
            state = f"{run.status.lower()} after {epochs}"
        elif course.silent >= SILENT_SECONDS:
            state = f"{epochs}; silent for {course.silent / 60:.0f} minutes, it may have been killed"
        else:
            state = f"{epochs}, training now"
        event = f' <span class="cl-small">{escape(run.event)}</span>' if run.event else ""
        alive = " cl-alive" if run.running and course.silent < SILENT_SECONDS else ""
        lines.append(f'<li class="cl-key cl-{escape(run.model)}{alive}"><b>{escape(run.name)}</b>: {state}{event}</li>')
    return f'<ul class="cl-standing">{"".join(lines)}</ul>'


def _charts(courses: Sequence[Course], charts: Mapping[str, Sequence[str]]) -> str:
    drawn = []
    for title, names in charts.items():
        lines = [
            Line("" if position else _named(course, courses), _look(course), course.curves[name], faint=position > 0)
            for course in courses
            for position, name in enumerate(names)
            if name in course.curves
        ]
        drawn.append(chart(title, lines, from_zero=not title.startswith("Loss")))
    return f'<div class="cl-charts">{"".join(drawn)}</div>'


def _named(course: Course, courses: Sequence[Course]) -> str:
    """The model, or the run where several are of that model."""
    return course.run.name if sum(one.run.model == course.run.model for one in courses) > 1 else course.run.model


def _look(course: Course) -> str:
    return course.run.model if course.run.model in ORDER else "quiet"


def _trials(study: StudyRow) -> str:
    keys = list(dict.fromkeys(key for trial in study.trials for key in trial.parameters))
    best = study.best
    head = "".join(f'<th scope="col">{escape(key.partition(".")[2] or key)}</th>' for key in keys)
    rows = sorted(study.trials, key=lambda trial: (trial is not best, -trial.number))[:TRIALS]
    body = "".join(_trial(trial, keys, trial is best) for trial in rows)
    return f"""<div class="cl-scroll" tabindex="0" role="region" aria-label="Trials"><table class="cl-table">
<thead><tr><th>trial</th><th class="cl-label">state</th><th>epochs</th><th>val CIDEr</th>{head}</tr></thead>
<tbody>{body}</tbody></table></div>"""


def _trial(trial: TrialRow, keys: Sequence[str], best: bool) -> str:
    value = "–" if trial.value is None else f"{trial.value:.3f}"
    cells = "".join(
        f"<td>{escape(shown(trial.parameters[key])) if key in trial.parameters else ''}</td>" for key in keys
    )
    mark = ' class="cl-best-row"' if best else ""
    return (
        f'<tr{mark}><th scope="row">{trial.number}{" ★" if best else ""}</th>'
        f'<td class="cl-label"><span class="cl-state cl-{trial.state}">{trial.state}</span></td><td>{trial.epochs}</td>'
        f"<td>{value}</td>{cells}</tr>"
    )
