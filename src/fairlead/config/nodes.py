"""Walking over YAML nodes with their positions: a Value is one node and its name, a Section a mapping with a known vocabulary.

The text of a scalar is used as it stands in the file; YAML 1.1's implicit types (`no`, `010`, `12:30`) never come into play.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

import yaml

from fairlead.config.report import Report, meant, shown
from fairlead.model import Position

T = TypeVar("T")

_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{t}" for t in "str int float bool null timestamp seq map merge value".split())
_NULLS = frozenset(["", "~", "null", "Null", "NULL"])


@dataclass(frozen=True, slots=True)
class Value:
    """One node of the file. `label` is what messages call it: "`need`", "this server"."""

    report: Report
    node: yaml.Node
    label: str

    @property
    def at(self) -> Position:
        """Where it starts; a value behind an alias is where its anchor is."""
        return position(self.report, self.node)

    @property
    def scalar(self) -> str | None:
        """The text as written, None for lists and mappings."""
        return self.node.value if isinstance(self.node, yaml.ScalarNode) else None

    @property
    def plain(self) -> bool:
        """Whether a scalar stands without quotes, so that YAML would have guessed at its type."""
        return isinstance(self.node, yaml.ScalarNode) and not self.node.style

    @property
    def empty(self) -> bool:
        """Whether nothing was written, or an unquoted null."""
        return self.plain and self.scalar in _NULLS

    @property
    def is_list(self) -> bool:
        """Whether it is a sequence."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.empty:
            return "empty"
        return "a mapping" if self.is_mapping else "a list" if self.is_list else shown(self.scalar or "")

    def error(self, says: str, hint: str = "") -> None:
        """Reports an error at this value."""
        self.report.error(self.at, says, hint)

    def warn(self, says: str, hint: str = "") -> None:
        """Reports a warning at this value."""
        self.report.warn(self.at, says, hint)

    def named(self, label: str) -> Value:
        """The same node under another name."""
        return Value(self.report, self.node, label)

    def not_yet(self, hint: str) -> None:
        """Reports that the key is known, but this value of it belongs to a later part."""
        key = self.label.strip("`")
        self.error(f"{shown(f'{key}: {self.scalar}')} is not supported yet", hint)

    def must_be(self, wanted: str, hint: str = "") -> None:
        """Reports that it is not what it has to be."""
        if self.empty:
            self.error(f"{self.label} has no value, it must be {wanted}", hint)
        else:
            self.error(f"{self.label} must be {wanted}, not {self.kind}", hint)

    def tagged(self) -> bool:
        """Reports and tells whether it carries a tag of another language (`!secret`, `!!python/object`)."""
        if self.node.tag in _PLAIN_TAGS:
            return False
        self.error(f"the YAML tag {shown(self.node.tag)} means nothing here", "remove it")
        return True


Reader = Callable[[Value], T | None]


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """What was read, None for what could not be, and where it was said: for a judgement that takes more than the value alone."""

    value: T | None
    at: Value


def placed(read: Reader[T]) -> Callable[[Value], Said[T]]:
    """The same reader, remembering where."""
    return lambda value: Said(read(value), value)


def below(upper: T, lower: T) -> T:
    """Two levels of one dataclass as one: what the lower one says wins; None is not said."""
    both: Any = (upper, lower)
    said = {f.name: getattr(lower, f.name) for f in fields(both[1])}
    merged: T = replace(both[0], **{name: value for name, value in said.items() if value is not None})
    return merged


def position(report: Report, node: yaml.Node) -> Position:
    """Where a node starts."""
    return mark_position(report, node.start_mark)


def mark_position(report: Report, mark: Any) -> Position:
    """Where a mark of PyYAML's is; its lines and columns count from 0."""
    return Position(report.path, mark.line + 1, mark.column + 1)


def items(value: Value, wanted: str, hint: str = "") -> list[Value] | None:
    """The items of a list; None, with an error, for anything else."""
    if not value.is_list:
        value.must_be(wanted, hint)
        return None
    return [] if value.tagged() else [Value(value.report, node, f"an item of {value.label}") for node in value.node.value]


def list_of(read: Reader[T], wanted: str, *, single: bool = True) -> Reader[tuple[T, ...]]:
    """A reader of lists; with `single` a lone scalar will do as well. Items that cannot be read are left out."""

    def reader(value: Value) -> tuple[T, ...] | None:
        lone = single and value.scalar is not None and not value.empty
        found = [value] if lone else items(value, wanted)
        return None if found is None else tuple(item for item in map(read, found) if item is not None)

    return reader


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping and its value."""

    key: Value
    value: Value

    @property
    def name(self) -> str:
        """The key's text."""
        return self.key.scalar or ""


def entries(value: Value, wanted: str = "a mapping", hint: str = "") -> dict[str, Entry] | None:
    """The entries of a mapping, merge keys (`<<`) resolved; None, with an error, where it is none. Duplicate keys are errors."""
    if not value.is_mapping:
        value.must_be(wanted, hint)
        return None
    return {} if value.tagged() else _Merger(value.report).entries(value.node, ())


class _Merger:
    """Resolves merge keys; each mapping once, so that nests of aliases cost no more than their text."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done: dict[int, dict[str, Entry]] = {}

    def entries(self, node: yaml.Node, above: tuple[int, ...]) -> dict[str, Entry]:
        if id(node) in self._done:
            return self._done[id(node)]
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for name, entry in self._merge(value, (*above, id(node))).items():
                    merged.setdefault(name, entry)
            elif self._usable(key, own):
                label = shown(key.value)
                own[key.value] = Entry(Value(self._report, key, label), Value(self._report, value, label))
        self._done[id(node)] = own | {name: entry for name, entry in merged.items() if name not in own}
        return self._done[id(node)]

    def _usable(self, key: yaml.Node, own: Mapping[str, Entry]) -> bool:
        at = position(self._report, key)
        if not isinstance(key, yaml.ScalarNode):
            self._report.error(at, "a key must be a word, not a list or a mapping", "`[` `{` and `? ` start such a key; quote it")
        elif key.value in own:
            first = own[key.value].key.at
            self._report.error(at, f"duplicate key {shown(key.value)}, first given at {first}", "keep one of the two")
        else:
            return True
        return False

    def _merge(self, value: yaml.Node, above: tuple[int, ...]) -> dict[str, Entry]:
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        found: dict[str, Entry] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._report.error(position(self._report, source), "`<<` merges mappings only", "give it an alias of a mapping")
            elif id(source) in above:
                self._report.error(position(self._report, value), "this mapping merges itself", "remove the `<<`")
            else:
                found = self.entries(source, above) | found
        return found


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys of one kind of section. `later` and `renamed` refuse with a hint, `dead` warns; `known` are honoured."""

    what: str
    known: frozenset[str]
    later: Mapping[str, str] = field(default_factory=dict)
    dead: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def judge(self, entry: Entry) -> None:
        """Reports a key that is not simply known."""
        name, key = entry.name, entry.key
        if name in self.known:
            return
        if name in self.later:
            key.error(f"{shown(name)} is not supported yet", self.later[name])
        elif name in self.dead:
            key.warn(f"{shown(name)} has no effect", self.dead[name])
        elif name in self.renamed:
            key.error(f"unknown key {shown(name)} in {self.what}", self.renamed[name])
        else:
            known = f"known here: {', '.join(sorted(self.known))}"
            key.error(f"unknown key {shown(name)} in {self.what}", meant(name, [*self.known, *self.later], known))


class Section:
    """A mapping whose keys are known; unknown ones are reported when it is made."""

    def __init__(self, value: Value, found: dict[str, Entry], words: Vocabulary) -> None:
        self.value = value
        self._entries = found
        self._words = words
        for entry in found.values():
            words.judge(entry)

    def get(self, key: str) -> Value | None:
        """The value of a key, None where it is not given."""
        assert key in self._words.known, key
        entry = self._entries.get(key)
        return entry.value if entry else None

    def take(self, key: str, read: Reader[T]) -> T | None:
        """What a reader makes of a key's value; None where it is not given or not readable (then reported)."""
        value = self.get(key)
        return read(value) if value is not None else None


def section(value: Value, words: Vocabulary, hint: str = "") -> Section | None:
    """The section that a value is; None, with an error, where it is no mapping."""
    found = entries(value, "a mapping", hint)
    return Section(value, found, words) if found is not None else None
