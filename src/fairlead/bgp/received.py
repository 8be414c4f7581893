"""What is wrong with a peer's UPDATE, and what that costs: RFC 7606. Nothing of it is kept but numbers.

An error in attributes costs their routes (treat-as-withdraw) or the attribute (discard); only where it is not clear any more
which routes are meant it costs the session. To Fairlead, which learns no routes, the first two are just counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead.bgp.capabilities import FAMILIES, Family
from fairlead.bgp.notifications import Cease, Code
from fairlead.bgp.terms import Terms
from fairlead.bgp.wire import Update
from fairlead.errors import ProtocolError

_OPTIONAL, _TRANSITIVE, _EXTENDED_LENGTH = 0x80, 0x40, 0x10
_MP_REACH, _MP_UNREACH = 14, 15

# Flags that RFCs demand of an attribute by its type: optional and transitive bits.
_FLAGS = {1: 0x40, 2: 0x40, 3: 0x40, 4: 0x80, 5: 0x40, 6: 0x40, 7: 0xC0, 8: 0xC0, 9: 0x80, 10: 0x80}
_FLAGS |= {_MP_REACH: 0x80, _MP_UNREACH: 0x80, 16: 0xC0, 17: 0xC0, 18: 0xC0, 32: 0xC0}

_LOCAL_PREF, _INTERNAL_ONLY = 5, frozenset({5, 9, 10})  # an external peer's are discarded, RFC 7606 sections 7.5, 7.9, 7.10
_DISCARDED = frozenset({6, 7, 17, 18})  # malformed ones cost themselves, RFC 7606 sections 7.6, 7.7, RFC 6793 section 6


def _multiple(of: int) -> Callable[[bytes, int], bool]:
    return lambda value, _: bool(value) and len(value) % of == 0


def _exactly(*lengths: int) -> Callable[[bytes, int], bool]:
    return lambda value, _: len(value) in lengths


def _path_fits(value: bytes, size: int) -> bool:
    """Segments of a known type, none of them empty, that fill the attribute: RFC 7606 section 7.2."""
    at = 0
    while at < len(value):
        if at + 2 > len(value) or not 1 <= value[at] <= 4 or not value[at + 1]:
            return False
        at += 2 + value[at + 1] * size
    return at == len(value)


# Whether a value is well formed, given the octets of an AS number: RFC 7606 section 7, RFC 8092 section 5.
_FITS: dict[int, Callable[[bytes, int], bool]] = {
    1: lambda value, _: len(value) == 1 and value[0] <= 2,
    2: _path_fits,
    3: _exactly(4),
    4: _exactly(4),
    5: _exactly(4),
    6: _exactly(0),
    7: lambda value, size: len(value) == size + 4,
    8: _multiple(4),
    9: _exactly(4),
    10: _multiple(4),
    16: _multiple(8),
    17: lambda value, _: _path_fits(value, 4),
    18: _exactly(8),
    32: _multiple(12),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What an UPDATE says: prefixes as they were on the wire, by family, and what was wrong with it (empty: nothing)."""

    reached: tuple[tuple[Family, bytes], ...]
    gone: tuple[tuple[Family, bytes], ...]
    wrong: str = ""


def examine(update: Update, terms: Terms) -> Heard:
    """Read an UPDATE. ProtocolError if it costs the session."""
    found, wrong = _Attributes(terms).read(update.attributes)
    gone = [(Family.IPV4, p) for p in prefixes(update.withdrawn, 4, Code.UPDATE, 10)]
    reached = [(Family.IPV4, p) for p in prefixes(update.nlri, 4, Code.UPDATE, 10)]
    if _MP_UNREACH in found:
        gone += _unreached(found[_MP_UNREACH])
    if _MP_REACH in found:
        reached += _reached(found[_MP_REACH], terms)
    if reached and not wrong:
        wrong = _missing(found, terms, bool(update.nlri))
    if wrong and not reached and _costly(wrong):  # routes may have been lost with what is unreadable, RFC 7606 section 5.2
        raise ProtocolError(f"{wrong} in an UPDATE that announces nothing", Code.UPDATE, 1)
    return Heard(tuple(reached), tuple(gone), wrong)


def _costly(wrong: str) -> bool:
    return not wrong.endswith(_IS_DISCARDED)


_IS_DISCARDED = "is discarded"


class _Attributes:
    """One pass over the attributes of an UPDATE."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._size = 4 if terms.four_octet else 2
        self._discards = ""

    def read(self, data: bytes) -> tuple[dict[int, bytes], str]:
        """Values by type, the first of each; and what is wrong in words, the gravest of it."""
        found: dict[int, bytes] = {}
        withdraws = ""
        for flags, kind, value in self._cut(data):
            if value is None:  # a length that leaves the field: what follows cannot be told apart, RFC 7606 section 4
                return found, f"attribute {kind} leaves the message"
            if kind in found:
                if kind in {_MP_REACH, _MP_UNREACH}:  # RFC 7606 section 3 g
                    raise ProtocolError(f"attribute {kind} stands twice in an UPDATE", Code.UPDATE, 1)
                continue
            if kind not in _FLAGS and not flags & _OPTIONAL:
                raise ProtocolError(f"well-known attribute {kind}", Code.UPDATE, 2, bytes([flags, kind]))
            withdraws = withdraws or self._judge(flags, kind, value)
            found[kind] = value
        return found, withdraws or self._discards

    def _judge(self, flags: int, kind: int, value: bytes) -> str:
        """Why the routes are taken as withdrawn, empty if they are not."""
        if kind in _INTERNAL_ONLY and not self._terms.internal:
            return ""
        if kind in _FLAGS and flags & (_OPTIONAL | _TRANSITIVE) != _FLAGS[kind]:
            return f"attribute {kind} has the wrong flags {flags:#x}"
        fits = _FITS.get(kind)
        if fits is None or fits(value, self._size):
            return ""
        if kind in _DISCARDED:
            self._discards = f"attribute {kind} is malformed and {_IS_DISCARDED}"
            return ""
        return f"attribute {kind} is malformed"

    @staticmethod
    def _cut(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
        """Flags, type, value; None for a value that is not all there."""
        at = 0
        while at < len(data):
            flags = data[at]
            kind = data[at + 1] if at + 1 < len(data) else 0
            start = at + (4 if flags & _EXTENDED_LENGTH else 3)
            end = start + int.from_bytes(data[at + 2 : start], "big")
            if max(start, end) > len(data):
                yield flags, kind, None
                return
            yield flags, kind, data[start:end]
            at = end


def _missing(found: dict[int, bytes], terms: Terms, ipv4: bool) -> str:
    """RFC 7606 section 3 d: what must be there where something is announced."""
    needed = [1, 2, *([3] if ipv4 else []), *([_LOCAL_PREF] if terms.internal else [])]
    lacking = [kind for kind in needed if kind not in found]
    return f"attribute {lacking[0]} is missing" if lacking else ""


def _reached(value: bytes, terms: Terms) -> Iterator[tuple[Family, bytes]]:
    """MP_REACH_NLRI, RFC 4760 section 3; a family that was not agreed on is not looked into (section 7)."""
    if len(value) < 5 or len(value) < 5 + value[3]:
        raise ProtocolError("MP_REACH_NLRI is too short", Code.UPDATE, 9)
    family = FAMILIES.get((int.from_bytes(value[:2], "big"), value[2]))
    if family is None or family not in terms.families:
        return
    fitting = {16, 32} if family is Family.IPV6 or terms.via_ipv6 else set()
    if value[3] not in fitting | ({4} if family is Family.IPV4 else set()):
        raise ProtocolError(f"an IPv{family.version} next hop of {value[3]} bytes", Code.UPDATE, 9)
    yield from ((family, p) for p in prefixes(value[5 + value[3] :], family.version, Code.UPDATE, 9))


def _unreached(value: bytes) -> Iterator[tuple[Family, bytes]]:
    """MP_UNREACH_NLRI, RFC 4760 section 4."""
    if len(value) < 3:
        raise ProtocolError("MP_UNREACH_NLRI is too short", Code.UPDATE, 9)
    family = FAMILIES.get((int.from_bytes(value[:2], "big"), value[2]))
    if family is not None:
        yield from ((family, p) for p in prefixes(value[3:], family.version, Code.UPDATE, 9))


def prefixes(data: bytes, version: int, code: int, subcode: int) -> Iterator[bytes]:
    """Each prefix of an NLRI field with its length octet; ProtocolError where one is too long or leaves the field."""
    longest, at, size = (32 if version == 4 else 128), 0, len(data)
    while at < size:
        end = at + 1 + (data[at] + 7) // 8
        if data[at] > longest or end > size:
            raise ProtocolError(f"an IPv{version} prefix of {data[at]} bits that does not fit", code, subcode)
        yield data[at:end]
        at = end


class AdjRibIn:
    """Numbers about what a peer says. Prefixes are told apart only up to `max_prefixes`; without it nothing is kept."""

    def __init__(self) -> None:
        self.prefixes = 0  # received, repeats included
        self.malformed = 0
        self.last_wrong = ""
        self._known: set[tuple[Family, bytes]] = set()

    def forget(self) -> None:
        """The session is gone, and with it what the peer announced."""
        self._known.clear()

    def hear(self, update: Update, terms: Terms, max_prefixes: int | None) -> None:
        """Count an UPDATE. ProtocolError if it costs the session, or announces one prefix too many (RFC 4486 section 4)."""
        heard = examine(update, terms)
        self.prefixes += len(heard.reached)
        if heard.wrong:
            self.malformed += 1
            self.last_wrong = heard.wrong
        if max_prefixes is None:
            return
        self._known.difference_update(heard.gone)
        if heard.wrong and _costly(heard.wrong):
            self._known.difference_update(heard.reached)
            return
        for each in heard.reached:
            self._known.add(each)
            if len(self._known) > max_prefixes:
                family = each[0]
                data = family.value[0].to_bytes(2, "big") + bytes([family.value[1]]) + max_prefixes.to_bytes(4, "big")
                raise ProtocolError(
                    f"the peer announces more than {max_prefixes} prefixes", Code.CEASE, Cease.MAXIMUM_PREFIXES, data
                )
