"""Text to YAML nodes: whatever the text is, either a mapping comes out or a problem goes into the report."""

from __future__ import annotations

import yaml

from fairlead.config.nodes import Value, mark_position
from fairlead.config.report import Report
from fairlead.model import Position

_DEPTH = 32  # levels of nesting; the grammar needs nine. libyaml's composer recurses in C and overflows the stack at some 50,000
_HARMLESS = 4000  # fewer brackets than this, in lines shorter than this, cannot nest deep enough to hurt the composer
_ABSENT = "a configuration needs at least `services:`"
_HINTS = {
    "found character that cannot start any token": "indent with spaces, not tabs, and quote a value that starts with % @ or `",
    "mapping values are not allowed in this context": "a second `: ` in a line, a line indented too far, or text to be quoted",
    "did not find expected key": "check the indentation of this line and the one above",
    "could not find expected ':'": "a key needs a colon and a space after it",
    "did not find expected '-' indicator": "list items of one list start in the same column",
    "found undefined alias": "quote a value that starts with *; a drained server is written `10.0.0.1*`, with the star behind",
    "did not find expected alphabetic or numeric character": "quote a value that starts with * or &",
    "found another document": "only one document in a file: remove the second `---`",
}


def load(text: str, report: Report) -> Value | None:
    """The root mapping; None where there is none, with the reason in the report."""
    start = Position(report.path, 1, 1)
    try:
        text.encode()
        node = _too_deep(text, report) or _compose(text)
    except UnicodeEncodeError as error:
        report.error(_position(report, text, error.start), "this is not valid UTF-8", "save the file as UTF-8")
    except yaml.MarkedYAMLError as error:
        _syntax_error(error, report)
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes here, not characters
        index = len(text.encode()[: error.position].decode(errors="ignore"))
        report.error(_position(report, text, index), f"YAML allows no character U+{ord(text[index]):04X} here", "remove it")
    else:
        if isinstance(node, Position):
            report.error(node, f"nested more than {_DEPTH} levels deep", "no configuration needs that")
        elif node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
            report.error(start, "the file is empty", _ABSENT)
        elif not isinstance(node, yaml.MappingNode):
            report.error(start, "the file must be a mapping of keys and values", _ABSENT)
        else:
            return Value(report, node, "the file")
    return None


def _compose(text: str) -> yaml.Node | None:
    loader = yaml.CSafeLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _too_deep(text: str, report: Report) -> Position | None:
    """Where nesting passes what the composer can take. A block level needs a column of its own, so most texts need no look."""
    if text.count("[") + text.count("{") < _HARMLESS and max(map(len, text.splitlines()), default=0) < _HARMLESS:
        return None
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH:
                return mark_position(report, event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _syntax_error(error: yaml.MarkedYAMLError, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    at = mark_position(report, mark) if mark else Position(report.path, 1, 1)
    problem = (error.problem or "cannot be read").removeprefix("but ")
    context = f", {error.context}" if error.context and error.context.startswith("while") else ""
    report.error(at, f"not valid YAML: {problem}{context}", _HINTS.get(problem, ""))


def _position(report: Report, text: str, index: int) -> Position:
    before = text[:index]
    return Position(report.path, before.count("\n") + 1, index - before.rfind("\n"))
