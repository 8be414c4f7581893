"""Metrics as data, and the text that they make: Prometheus's format 0.0.4, or OpenMetrics 1.0.

All series of a group have the same labels, which are rendered once for all of its metrics: that is most of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.model import Status

PIECE = 250  # lines that are made at one go
Number = int | float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `value` takes a row of the group; of a summary it gives the count and the sum of what was observed.

    `name` is that of the samples; of a summary without `_count` and `_sum`. Without `value` there are no samples: the name stands
    for what somebody may ask for and nobody knows.
    """

    name: str
    kind: Literal["counter", "gauge", "summary"]
    help: str
    value: Callable[[Any], Any] | None

    def samples(self) -> tuple[str, ...]:
        """The names of its samples."""
        return (f"{self.name}_count", f"{self.name}_sum") if self.kind == "summary" else (self.name,)

    def head(self, *, openly: bool) -> str:
        """HELP and TYPE. OpenMetrics names a counter without its `_total`."""
        name = self.name.removesuffix("_total") if openly and self.kind == "counter" else self.name
        return f"# HELP {name} {escaped(self.help, quotes=openly)}\n# TYPE {name} {self.kind}\n"


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics of the same things. `rows` gives each thing with the values of its labels, no two of them alike."""

    labels: tuple[str, ...]
    rows: Callable[[Status], Iterable[tuple[tuple[object, ...], Any]]]
    families: tuple[Family, ...]


def counter(name: str, says: str, value: Callable[[Any], Number]) -> Family:
    """What only grows, from zero at some start on."""
    return Family(name, "counter", says, value)


def gauge(name: str, says: str, value: Callable[[Any], Number]) -> Family:
    """What is so now."""
    return Family(name, "gauge", says, value)


def escaped(text: str, *, quotes: bool = True) -> str:
    """Text within a label's quotes, or without them: in HELP lines of the format 0.0.4 quotes stand for themselves."""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def texts(group: Group, status: Status, *, openly: bool) -> Iterator[str]:
    """The group in pieces of some hundred lines. An empty piece is one whose labels took as long."""
    rows: list[tuple[str, Any]] = []
    names = [f'{name}="' for name in group.labels]
    for values, row in group.rows(status):
        rows.append((_labels(names, values), row))
        if len(rows) % PIECE == 0:
            yield ""
    if not rows:
        return
    for family in group.families:
        yield family.head(openly=openly)
        if (value := family.value) is not None:
            for at in range(0, len(rows), PIECE):
                yield "".join(_lines(family.name, value, rows[at : at + PIECE], family.kind))


def _labels(names: list[str], values: tuple[object, ...]) -> str:
    """`{service="192.0.2.10:80/tcp",name="web"}`; nothing without labels."""
    if not names:
        return ""
    words = [escaped(str(value)) for value in values]
    return "{" + ",".join([f'{name}{word}"' for name, word in zip(names, words, strict=True)]) + "}"


def _lines(name: str, value: Callable[[Any], Any], rows: list[tuple[str, Any]], kind: str) -> list[str]:
    """`+` makes 1 of True."""
    if kind != "summary":
        return [f"{name}{labels} {+value(row)}\n" for labels, row in rows]
    pairs = [(labels, *value(row)) for labels, row in rows]
    return [f"{name}_count{labels} {count}\n{name}_sum{labels} {total}\n" for labels, count, total in pairs]
