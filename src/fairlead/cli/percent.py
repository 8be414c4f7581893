"""A percentage on the command line."""

from __future__ import annotations

from typing import Any

import click


class Percent(click.ParamType[float]):
    """`1%`, `0.5%`, `1`: a number of percent."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            found = float(str(value).removesuffix("%"))
        except ValueError:
            found = -1.0
        if not 0 <= found <= 100:  # percent
            self.fail(f"{value!r} is no percentage: write for example 1%", param, ctx)
        return found
