"""The section `logging` of a Config in its normal form: what differs from its default."""

from __future__ import annotations

from fairlead.config.alerts import expanded
from fairlead.config.expand_bgp import Plain
from fairlead.config.sinks import FACILITIES
from fairlead.model import Logging, Search, Syslog

_NAMES = {number: name for name, number in FACILITIES.items()}
_FILES = ("password_file", "api_key_file", "ca_file")


def logging(said: Logging) -> dict[str, Plain]:
    """The section; empty where there is nothing to say."""
    usual = Logging()
    out: dict[str, Plain] = {
        name: getattr(said, name) for name in ("format", "probes") if getattr(said, name) != getattr(usual, name)
    }
    if said.syslog is not None:
        out["syslog"] = _syslog(said.syslog)
    for kind in ("elasticsearch", "opensearch"):
        if clusters := [_search(search) for search in said.searches if search.kind == kind]:
            out[kind] = clusters
    return out | expanded(said.alerts)


def _syslog(said: Syslog) -> Plain:
    return {
        "address": said.address,
        "transport": said.transport,
        "facility": _NAMES[said.facility],
        "format": said.format,
        "probes": said.probes,
    }


def _search(said: Search) -> Plain:
    out: dict[str, Plain] = {"addresses": list(said.addresses), "stream": said.stream}
    texts = {"username": said.username, "password": said.password, **{n.replace("_", "-"): getattr(said, n) for n in _FILES}}
    out |= {key: text for key, text in texts.items() if text}
    return out | {"probes": said.probes, "queue": said.queue, "spool": said.spool}
