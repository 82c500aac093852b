"""`tune.space` of params.yaml: which values of which parameters a search may try.

    space:
      model:
        rnn: [lstm, gru]                                    # one of these
        hidden_size: {low: 128, high: 384, step: 128}       # 128, 256 or 384, known to lie in this order
        dropout: {low: 0.1, high: 0.6}                      # a number between these
      train:
        learning_rate: {low: 0.0003, high: 0.01, log: true} # evenly over orders of magnitude
        clip_norm: {low: 1, high: 10, when: {model.rnn: gru}}  # only where another parameter has this value

It is nested as the parameters themselves are; `model.rnn: [lstm, gru]` means the same. A range of a parameter that
counts something is one of integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from src.section import Section

Value = bool | int | float | str
"""What a parameter may be."""
SEARCHED = ("model", "train")
_SAME = "it is the same for all trials, or their figures could not be compared"
_KINDS = ("bool", "int", "float", "str")
_NO_CNN = "in no trial does the CNN learn"
_NO_REWARDS = "in no trial are captions rewarded"
NOT_SEARCHED = {
    "train.epochs": f"{_SAME} (tune.epochs is how long each trains)",
    "train.finetune_encoder": _NO_CNN,
    "train.encoder_learning_rate": _NO_CNN,
    "train.self_critical_epochs": _NO_REWARDS,
    "train.self_critical_samples": _NO_REWARDS,
    "train.self_critical_learning_rate": _NO_REWARDS,
    "train.distill": "all trials learn from the captions that the stage distill left, made for params.yaml's own share",
    "train.members": _SAME,
    "train.processes": _SAME,
    "train.restarts": _SAME,
    "train.save_every_steps": _SAME,
}
"""What no trial can have otherwise than the others, and why."""


class Range(Section):
    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1
    """From one value that is tried to the next; 1: any between the ends, of a count each."""
    when: dict[str, Value] = Field(default_factory=dict)
    """Values that other parameters must have for this one to be searched."""

    def model_post_init(self, context: Any, /) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: low must be the smaller")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}: a logarithmic range begins above 0")
        if self.step > 1 and (self.log or (self.high - self.low) % self.step):
            raise ValueError(
                f"from {self.low} to {self.high} in steps of {self.step}: use an end that the steps meet, and no log"
            )

    @property
    def values(self) -> tuple[Value, ...]:
        """The ends."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.step == 1 or (value - self.low) % self.step == 0


class Choice(Section):
    choices: tuple[Value, ...]
    when: dict[str, Value] = Field(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"its choices are {list(self.choices)}: give different ones, at least one")

    @property
    def values(self) -> tuple[Value, ...]:
        return self.choices

    def __contains__(self, value: object) -> bool:
        return value in self.choices


def _flattened(raw: Any) -> dict[str, Range | Choice]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"tune.space is {raw!r}: give parameters and what they may be")
    found: dict[str, Range | Choice] = {}
    for key, entry in _entries("", raw):
        if key in found:
            raise ValueError(f"tune.space.{key} is given twice, nested and by its full name: leave one out")
        found[key] = entry
    return found


def _entries(prefix: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, Range | Choice]]:
    for name, given in raw.items():
        key = f"{prefix}{name}"
        if isinstance(given, Range | Choice):
            yield key, given
        elif isinstance(given, list | tuple):
            yield key, _entry(key, Choice, {"choices": given})
        elif isinstance(given, Mapping) and "choices" in given:
            yield key, _entry(key, Choice, given)
        elif isinstance(given, Mapping) and {"low", "high", "log", "step"} & given.keys():
            yield key, _entry(key, Range, given)
        elif isinstance(given, Mapping):
            yield from _entries(f"{key}.", given)
        else:
            raise ValueError(f"tune.space.{key} is {given!r}: give a list of values, or low and high (and log: true)")


def _entry(key: str, kind: type[Range] | type[Choice], given: Any) -> Range | Choice:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if place and place[-1] in _KINDS:  # of none of the kinds that a value may have
            wanted = "a number" if place[0] in ("low", "high") else "a word, a number, true or false"
            told = f"{'.'.join([key, *place[:-1]])} is {first['input']!r}: give {wanted}"
        else:
            known = f" (known here: {', '.join(kind.model_fields)})" if first["type"] == "extra_forbidden" else ""
            given = "" if first["type"] in ("value_error", "missing", "extra_forbidden") else f" is {first['input']!r}"
            told = f"{'.'.join([key, *place])}{given}: {first['msg'].removeprefix('Value error, ')}{known}"
        raise ValueError(f"tune.space.{told}") from None


Space = Annotated[dict[str, Range | Choice], BeforeValidator(_flattened)]
"""What may be tried, by the parameter's full name."""


def checked(space: Mapping[str, Range | Choice], settings: BaseModel) -> dict[str, Range | Choice]:
    """The space, with choices, ends and conditions of the types that `settings` has: YAML takes 1e-3 for a word.

    Raises:
        ValueError: a parameter does not exist, may not be searched, or does not accept what the space offers; the
            message names the key and the value. So does that of a condition which no trial could meet.
    """
    sections = {name: getattr(settings, name) for name in SEARCHED}
    known = dict(_leaves(sections))
    found: dict[str, Range | Choice] = {}
    for key, entry in space.items():
        if key not in known:
            raise ValueError(
                f"tune.space.{key}: there is no such parameter to search (those of {' and '.join(SEARCHED)} are: "
                f"{', '.join(name for name in known if name not in NOT_SEARCHED)})"
            )
        if key in NOT_SEARCHED:
            raise ValueError(f"tune.space.{key} cannot be searched: {NOT_SEARCHED[key]}")
        for condition in entry.when:
            if condition not in known or condition == key or (condition in space and space[condition].when):
                raise ValueError(
                    f"tune.space.{key}.when names {condition!r}: name another parameter, one without conditions"
                )
        values = [_accepted(settings, key, value, f"tune.space.{key} offers") for value in entry.values]
        when = {
            name: _accepted(settings, name, value, f"tune.space.{key}.when.{name} is")
            for name, value in entry.when.items()
        }
        typed = {"choices": values} if isinstance(entry, Choice) else dict(zip(("low", "high"), values, strict=True))
        found[key] = _entry(key, type(entry), entry.model_dump() | typed | {"when": when})
    for key, entry in found.items():
        for name, value in entry.when.items():
            if not (value in found[name] if name in found else value == value_of(settings, name.split("."))):
                why = "is not searched and has another value" if name not in found else "is never given that value"
                raise ValueError(
                    f"tune.space.{key}.when.{name} is {value!r}, but {name} {why}: no trial would try {key}"
                )
    return found


def _accepted(settings: BaseModel, key: str, value: Value, told: str) -> Any:
    """`value` as the parameter would have it."""
    section, *path = key.split(".")
    former: BaseModel = getattr(settings, section)
    try:
        accepted = type(former).model_validate(with_value(former.model_dump(), path, value))
    except ValidationError as error:
        raise ValueError(f"{told} {value!r}: {error.errors()[0]['msg']}") from None
    return value_of(accepted, path)


def value_of(section: BaseModel, path: list[str]) -> Any:
    """One of nested parameters."""
    return reduce(getattr, path, section)


def with_value(section: dict[str, Any], path: list[str], value: Value) -> dict[str, Any]:
    """A copy of nested parameters in which one has another value."""
    name, *rest = path
    return {**section, name: with_value(section[name], rest, value) if rest else value}


def _leaves(sections: Mapping[str, BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, section in sections.items():
        for field in type(section).model_fields:
            value = getattr(section, field)
            if isinstance(value, BaseModel):
                yield from _leaves({f"{name}.{field}": value})
            else:
                yield f"{name}.{field}", value
