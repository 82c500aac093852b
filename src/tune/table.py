"""How a search goes, told while it goes on: a table that changes in a terminal, a line per trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from src.search_space import Value

ROWS = 14
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
"""What people call them."""
SHADES = {TrialState.COMPLETE: "green", TrialState.PRUNED: "dim", TrialState.FAIL: "red", TrialState.RUNNING: "cyan"}


class Progress:
    """Shows trials; a context that leaves the last table where it is."""

    def __init__(self, console: Console, title: str, trials: int, epochs: int, timeout: float | None) -> None:
        self._console, self._title = console, title
        self._trials, self._epochs, self._timeout = trials, epochs, timeout
        self._begun = time.monotonic()
        self._told: set[int] | None = None
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, trials: Sequence[FrozenTrial]) -> None:
        if self._live:
            self._live.update(Group(self._headline(trials), _table(trials, self._epochs)), refresh=True)
            return
        finished = [trial for trial in trials if trial.state.is_finished()]
        if self._told is None:  # what an earlier call did was told then
            self._told = {trial.number for trial in finished}
        for trial in finished:
            if trial.number not in self._told:
                self._told.add(trial.number)
                values = ", ".join(f"{key} {shown(value)}" for key, value in trial.params.items())
                self._console.print(
                    f"trial {trial.number:3d}  {STATES[trial.state]:8s}  val CIDEr {_reached(trial)}  {values}",
                    highlight=False, soft_wrap=True,
                )  # fmt: skip

    def _headline(self, trials: Sequence[FrozenTrial]) -> Text:
        counts = {state: sum(trial.state == state for trial in trials) for state in STATES}
        done = sum(count for state, count in counts.items() if state.is_finished())
        kinds = ", ".join(f"{count} {STATES[state]}" for state, count in counts.items() if count)
        seconds = time.monotonic() - self._begun
        limit = f" of {_clock(self._timeout)}" if self._timeout else ""
        return Text(f"{self._title}: {done} of {self._trials} trials ({kinds}), {_clock(seconds)}{limit}", style="bold")


def shown(value: Value) -> str:
    """A parameter's value, short."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(trials: Sequence[FrozenTrial], epochs: int) -> Table:
    best = max((trial for trial in trials if trial.state == TrialState.COMPLETE), key=_value, default=None)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    table = Table("trial", "", "epoch", "val CIDEr", *(key.partition(".")[2] for key in keys), box=None, pad_edge=False)
    # The best one stays in sight.
    for trial in [*(trial for trial in trials[:-ROWS] if trial is best), *trials[-ROWS:]]:
        epoch = f"{max(trial.intermediate_values, default=0)}/{epochs}"
        row = [str(trial.number), STATES[trial.state], epoch, _reached(trial)]
        row += [shown(trial.params[key]) if key in trial.params else "" for key in keys]
        table.add_row(*row, style="bold green" if trial is best else SHADES.get(trial.state, ""))
    return table


def _value(trial: FrozenTrial) -> float:
    return trial.value if trial.value is not None else float("-inf")


def _reached(trial: FrozenTrial) -> str:
    best = max(trial.intermediate_values.values(), default=None)
    return "    -" if best is None else f"{best:.3f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
