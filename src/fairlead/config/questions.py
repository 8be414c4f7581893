"""Readers of what checks ask and what they take for a good answer: statuses, headers, patterns, names, payloads."""

from __future__ import annotations

import re
import warnings

from fairlead.config.nodes import Value, entries, items, section
from fairlead.config.report import meant, shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import PAYLOAD

RECORDS = tuple("A AAAA ANY CAA CNAME DNSKEY DS HTTPS MX NAPTR NS PTR SOA SRV TXT".split())  # RFC 1035 3.2.2 and successors
RCODES = tuple("NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED NOTAUTH".split())  # RFC 1035 4.1.1, RFC 2136 2.2
_PATTERN_MOST = 1000  # characters
_HEADERS_MOST = 32
_PAYLOAD_MOST = 1200  # octets: with any tunnel's headers it is still one packet on every network
_LABEL = re.compile(r"[A-Za-z0-9_*](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110 section 5.6.2
_OWN_HEADERS = {
    "host": "write it as `host`",
    "connection": "each check has a connection of its own, which it closes",
    "content-length": "a check sends no body",
    "transfer-encoding": "a check sends no body",
    "accept-encoding": "a check reads the body as it is",
    "upgrade": "a check stays with HTTP/1.1",
    "expect": "a check sends no body",
}


def statuses(value: Value) -> frozenset[int] | None:
    """`any`, or status codes and ranges such as `200-299 301`, in one text or as a list. Empty stands for any."""
    if value.is_list:
        each = [_statuses(item) for item in items(value, "") or []]
        if not each:
            value.error(f"{value.label} is empty", "write `any` to accept every status")
        return None if None in each or not each else frozenset[int]().union(*(e for e in each if e is not None))
    text = words(value, "status codes")
    return frozenset() if text == "any" else None if text is None else _statuses(value)


def _statuses(value: Value) -> frozenset[int] | None:
    found: set[int] = set()
    tokens = (words(value, "status codes") or "").split()
    for token in tokens:
        first, dash, last = token.partition("-")
        ends = (first, last if dash else first)
        if not all(len(e) == 3 and e.isascii() and e.isdigit() and e >= "100" for e in ends):
            value.must_be("HTTP status codes such as `200`, `200-299 301` or `any`")
            return None
        low, high = sorted(map(int, ends))
        found.update(range(low, high + 1))
    return frozenset(found) or None


def headers(value: Value) -> tuple[tuple[str, str], ...] | None:
    """Header fields of a request, sorted by name: whatever their order in the file, the question is the same."""
    found = entries(value, "a mapping of header names to values", "such as `{X-Check: fairlead}`")
    if found is None:
        return None
    if len(found) > _HEADERS_MOST:
        value.error(f"{len(found)} headers are more than a check should send", f"{_HEADERS_MOST} at most")
    said: dict[str, tuple[str, str]] = {}
    for name, entry in found.items():
        text = _header_value(entry.value)
        if not _TOKEN.fullmatch(name):
            entry.key.error(f"{shown(name)} is not the name of a header", "letters, digits and `-`, as RFC 9110 has them")
        elif name.lower() in _OWN_HEADERS:
            entry.key.error(f"{shown(name)} is not for `headers`", _OWN_HEADERS[name.lower()])
        elif name.lower() in said:
            entry.key.error(f"{shown(name)} is there already as {shown(said[name.lower()][0])}", "keep one of the two")
        elif text is not None:
            said[name.lower()] = (name, text)
    return tuple(said[name] for name in sorted(said))


def _header_value(value: Value) -> str | None:
    text = words(value, "the text of a header")
    if text is not None and not re.fullmatch(r"[ -~]{0,1000}", text):
        value.must_be("printable ASCII on one line, 1000 characters at most")
        return None
    return None if text is None else text.strip()


def pattern(value: Value) -> str | None:
    """A regular expression in Python's syntax over octets: what is not ASCII is written as octets, no encoding is guessed."""
    text = words(value, "a regular expression")
    if text is None:
        return None
    if len(text) > _PATTERN_MOST:
        value.error(f"{value.label} is longer than {_PATTERN_MOST} characters", "search for less")
        return None
    if not text.isascii():
        value.error(f"{value.label} is not ASCII", r"write octets: \xc3\xa4 is an ä in UTF-8, \xe4 in Latin-1")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what later versions of Python may take otherwise
            re.compile(text.encode())
    except (re.error, OverflowError, RecursionError) as error:
        value.error(f"{value.label} is not a regular expression: {error}", "Python's syntax; a plain word is one, too")
        return None
    return text


def domain(value: Value) -> str | None:
    """A domain name, `.` for the root (RFC 1035 section 2.3.4 has the lengths). A dot at the end makes no difference."""
    text = words(value, "a domain name")
    if text is None or text == ".":
        return text
    bare = text.removesuffix(".")
    if len(bare) > 253 or not all(map(_LABEL.fullmatch, bare.split("."))):
        hint = "" if bare.isascii() else "write the xn-- form of labels with other letters than ASCII's"
        value.must_be("a domain name such as `www.example.com`", hint)
        return None
    return bare


def record(value: Value) -> str | None:
    """The type of a DNS record."""
    return _upper(value, RECORDS, "the type of a DNS record")


def rcode(value: Value) -> str | None:
    """The response code that a DNS answer must have, "" for `any`."""
    return "" if value.scalar == "any" else _upper(value, RCODES, "a DNS response code or `any`")


def _upper(value: Value, known: tuple[str, ...], wanted: str) -> str | None:
    text = words(value, wanted)
    if text is None or text.upper() in known:
        return text and text.upper()
    value.must_be(wanted, meant(text, known, f"known here: {', '.join(known)}"))
    return None


def payload(value: Value) -> bytes | None:
    """What a udp check sends: text, in UTF-8, or `{hex: 00 ff}`."""
    if value.is_mapping:
        said = section(value, PAYLOAD)
        if said is not None and said.get("hex") is None:
            value.error("this payload has no `hex`", "write text, or `{hex: 00 ff}`")
        found = said.take("hex", _octets) if said else None
    else:
        text = words(value, "text, or `{hex: 00 ff}`")
        found = None if text is None else text.encode()
    if found is not None and len(found) > _PAYLOAD_MOST:
        value.error(f"{value.label} is {len(found)} octets long", f"{_PAYLOAD_MOST} at most, so that it fits into any packet")
        return None
    return found


def _octets(value: Value) -> bytes | None:
    text = words(value, "hexadecimal digits")
    if text is None:
        return None
    digits = re.sub(r"\s", "", text)
    if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", digits):
        value.must_be("pairs of hexadecimal digits such as `00 ff`")
        return None
    return bytes.fromhex(digits)
