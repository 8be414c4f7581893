"""A figure, the table of them in RESULTS.md, and results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured case. `value` is a median, net of `floor` where there is one; goal and must are 0 where none is set."""

    case: str
    unit: str
    value: float
    least: float
    most: float
    floor: float
    goal: float
    must: float

    @property
    def standing(self) -> str:
        """Which of goal and must the median reaches."""
        if not self.must:
            return ""
        sign = -1 if self.unit in {"Mpps", "/s"} else 1  # of rates, more is better
        reached = [name for name, limit in (("goal", self.goal), ("must", self.must)) if sign * self.value <= sign * limit]
        return reached[0] if reached else "MISSED"

    def row(self) -> str:
        """The figure as a line of the table."""
        limits = f"{self.goal:g} | {self.must:g}" if self.must else "- | -"
        spread = f"{self.least:.1f} - {self.most:.1f}"
        floor = f"{self.floor:.1f}" if self.floor else "-"
        return f"| {self.case} | {self.value:.1f} {self.unit} | {spread} | {floor} | {limits} | {self.standing} |"


def write(figures: Sequence[Figure], machine: str) -> None:
    """Replace the table in RESULTS.md and results.json."""
    head = ["", machine, "", "| case | median | spread | floor | goal | must | reached |", "|---|---|---|---|---|---|---|"]
    text = (HERE / "RESULTS.md").read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join([*head, *(f.row() for f in figures), ""])
    (HERE / "RESULTS.md").write_text(f"{before}{BEGIN}{table}\n{END}{after}")
    rows = [
        {
            "case": f.case,
            f.unit: round(f.value, 2),
            "floor": round(f.floor, 2),
            "goal": f.goal,
            "must": f.must,
            "spread": [f.least, f.most],
        }
        for f in figures
    ]
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
