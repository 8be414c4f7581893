"""A second copy of what the reconciler knows, to think on: everything that can change is copied, every value is shared.

What is immutable (numbers, bytes, tuples, frozen dataclasses, functions) is the same object in both: plans are cached by the
identity of their facts, so that sharing is what makes a copy of a hundred thousand destinations cheap.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

_CONTAINERS = (dict, Counter, list, set, deque, bytearray)
T = TypeVar("T")


def twin(root: T, instead: dict[int, Any], ours: Callable[[type], bool]) -> tuple[T, Callable[[], None]]:
    """A copy of `root` and of all that it leads to. `instead` maps ids of objects to what stands for them in the copy.

    `ours` says of which classes instances are copied; those of others are shared. Call what comes with it when the copy is not
    needed any more: it takes it apart, which a search for cycles through all there is would otherwise have to do.
    """
    copier = _Copier(dict(instead), ours)
    made: T = copier.of(root)
    return made, copier.take_apart


class _Copier:
    """Remembers what it has copied: what two parts share they share in the copy too."""

    def __init__(self, made: dict[int, Any], ours: Callable[[type], bool]) -> None:
        self._made = made
        self._ours = ours
        self._changes: dict[type, bool] = {}
        self._instances: list[Any] = []

    def of(self, value: Any) -> Any:
        """The copy of one object, the object itself where nothing about it can change."""
        if id(value) in self._made:
            return self._made[id(value)]
        if not self._mutable(type(value)):
            return value
        made: Any = self._copied(value)
        self._made[id(value)] = made
        return made

    def take_apart(self) -> None:
        """Nothing of the copy leads to anything any more."""
        for each in self._instances:
            getattr(each, "__dict__", {}).clear()
        self._instances.clear()
        self._made.clear()

    def _mutable(self, kind: type) -> bool:
        found = self._changes.get(kind)
        if found is None:
            frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
            found = kind in _CONTAINERS or kind is MethodType or (self._ours(kind) and not frozen and not issubclass(kind, tuple))
            self._changes[kind] = found
        return found

    def _copied(self, value: Any) -> Any:
        kind = type(value)
        if kind in (dict, Counter):
            if self._all_shared(value.values()):
                return value.copy()
            return kind({key: self.of(each) for key, each in value.items()})
        if kind in (list, deque):
            return value.copy() if self._all_shared(value) else kind(map(self.of, value))
        if kind in (set, bytearray):
            return value.copy()
        if kind is MethodType:
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else MethodType(value.__func__, owner)
        return self._instance(value)

    def _all_shared(self, values: Any) -> bool:
        """Nothing among them would be copied, nor is anything else to stand for it."""
        return not any(map(self._mutable, set(map(type, values))))

    def _instance(self, value: Any) -> Any:
        made: Any = object.__new__(type(value))
        self._made[id(value)] = made  # before its parts: they may lead back to it
        self._instances.append(made)
        names = [*getattr(value, "__dict__", ()), *(n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ()))]
        for name in names:
            if hasattr(value, name):
                object.__setattr__(made, name, self.of(getattr(value, name)))
        return made
