"""The operator's YAML: text in, one immutable Config out, or every Problem of the file at once.

The grammar is a superset of VC5's, so that its files work unchanged. Nothing is guessed and nothing is accepted without effect: a
key is honoured, refused as "not supported yet", or (VC5's dead keys) answered with a warning. docs/reference/config.md has them.

    text -> load (YAML, depth, encoding) -> document (what each section says) -> conflicts (what contradicts what) -> Config
"""

from __future__ import annotations

from fairlead.config.document import read_document
from fairlead.config.expand import expand
from fairlead.config.load import load
from fairlead.config.report import Report
from fairlead.errors import ConfigError
from fairlead.model import Config

__all__ = ["expand", "parse"]


def parse(text: str, path: str) -> Config:
    """The configuration in `text`; `path` only names it in positions. Raises ConfigError with every problem, in file order."""
    report = Report(path)
    root = load(text, report)
    config = read_document(root) if root is not None else None
    if config is None or report.failed:
        raise ConfigError(report.problems())
    return config
