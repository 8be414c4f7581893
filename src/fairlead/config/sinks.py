"""What the file says of logs: where events go, and how much of them."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fairlead.config import scalars
from fairlead.config.alerts import alerts
from fairlead.config.nodes import Reader, Section, Value, items, list_of, section
from fairlead.config.report import shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import LOGGING, SEARCH, SYSLOG
from fairlead.model import Logging, Search, Syslog

FORMATS = ("auto", "text", "json", "journal")
PROBES = ("all", "changes")
TRANSPORTS = ("unix", "udp", "tcp")
# RFC 5424 table 1, by the names of syslog.conf(5)
FACILITIES = {
    name: number
    for number, name in enumerate("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split())
} | {f"local{n}": 16 + n for n in range(8)}  # fmt: skip
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def logging(value: Value) -> Logging | None:
    """The section `logging`."""
    said = section(value, LOGGING)
    if said is None:
        return None
    found = {
        "format": said.take("format", _one(FORMATS)),
        "probes": said.take("probes", _one(PROBES)),
        "syslog": said.take("syslog", _syslog),
        "searches": (*_clusters(said, "elasticsearch"), *_clusters(said, "opensearch")),
        "alerts": alerts(said),
    }
    return _filled(Logging(), found)  # type: ignore[no-any-return]


def _one(names: tuple[str, ...]) -> Reader[str]:
    return scalars.choice({n: n for n in names})


def _filled(default: Any, found: dict[str, Any]) -> Any:
    return replace(default, **{name: value for name, value in found.items() if value is not None})


# ---------------------------------------------------------------------------------------------------------------------- syslog


def _syslog(value: Value) -> Syslog | None:
    """A mapping, or `true` for this machine's own."""
    if not value.is_mapping:
        if value.scalar not in ("true", "false"):
            value.must_be("`true`, `false` or a mapping", "such as `{address: 192.0.2.1, transport: udp}`")
        return Syslog() if value.scalar == "true" else None
    said = section(value, SYSLOG)
    if said is None:
        return None
    transport = said.take("transport", _one(TRANSPORTS))
    address = said.take("address", _endpoint if transport != "unix" else scalars.file_name)
    unix = transport == "unix" or (transport is None and (address is None or address.startswith("/")))
    if transport in ("udp", "tcp") and said.get("address") is None:
        value.error(f"syslog over {transport} needs an `address`", "such as `address: 192.0.2.1` or `192.0.2.1:6514`")
    found = {
        "transport": transport or ("unix" if unix else "udp"),
        "address": address,
        "facility": said.take("facility", scalars.choice(FACILITIES)),
        "format": said.take("format", _one(("rfc5424", "local"))),
        "probes": said.take("probes", _one(PROBES)),
    }
    return _filled(Syslog(), found)  # type: ignore[no-any-return]


def _endpoint(value: Value) -> str | None:
    """A path, or a host with a port: 514 where none is said."""
    text = words(value, "an address, or the path of a socket")
    if text is None or text.startswith("/"):
        return text if text is None or text.isprintable() else None
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}))?|([0-9.]{7,15})(?::([0-9]{1,5}))?", text)
    port = int(match[2] or match[4] or 514) if match else 0
    try:
        host = ip_address(match[1] or match[3]) if match and 0 < port < 65536 else None
    except ValueError:
        host = None
    if host is None:
        hint = (
            "put an IPv6 address in brackets and quotes" if text.count(":") > 1 else "such as `192.0.2.1:514`; a name will not do"
        )
        value.must_be("an address with a port, or the path of a socket", hint)
        return None
    return f"{host}:{port}" if host.version == 4 else f"[{host}]:{port}"


# -------------------------------------------------------------------------------------------------------------------- clusters


def _clusters(said: Section, kind: str) -> tuple[Search, ...]:
    value = said.get(kind)
    if value is None:
        return ()
    found = [value] if value.is_mapping else items(value, "a mapping, or a list of them") or []
    read = [cluster for cluster in (_cluster(one, kind) for one in found) if cluster is not None]
    for index, cluster in enumerate(read):
        if any(set(cluster.addresses) & set(other.addresses) and cluster.stream == other.stream for other in read[:index]):
            value.error(f"two of `{kind}` are the same cluster and stream", "each event would be there twice; keep one")
    return tuple(read)


def _cluster(value: Value, kind: str) -> Search | None:
    said = section(value, SEARCH)
    if said is None:
        return None
    if said.get("addresses") is None:
        value.error(f"`{kind}` needs `addresses`", "such as `addresses: [https://192.0.2.1:9200]`")
    most = scalars.integer(100, 1_000_000)
    found = {
        "kind": kind,
        "addresses": said.take("addresses", list_of(_url, "a URL or a list of URLs")),
        "stream": said.take("stream", _stream) or said.take("index", _stream),
        "username": said.take("username", _credential),
        "password": said.take("password", _credential),
        "password_file": said.take("password-file", scalars.file_name),
        "api_key_file": said.take("api-key-file", scalars.file_name),
        "ca_file": said.take("ca-file", scalars.file_name),
        "probes": said.take("probes", _one(PROBES)),
        "queue": said.take("queue", most),
        "spool": said.take("spool", _octets),
    }
    _judge(said, kind)
    return _filled(Search(), found)  # type: ignore[no-any-return]


def _judge(said: Section, kind: str) -> None:
    """What only the whole of a cluster tells."""
    password, file, key = (said.get(name) for name in ("password", "password-file", "api-key-file"))
    if password is not None:
        password.warn("whoever may read this file knows the password", "write it into a file of its own: `password-file`")
    if password is not None and file is not None:
        file.error("there is a `password`, too", "keep one of the two")
    if (password or file) and said.get("username") is None:
        (password or file or said.value).error("there is no `username` for this password", "name it")
    if key is not None and kind == "opensearch":
        key.error("OpenSearch knows no API keys", "`username` and `password-file`")
    elif key is not None and said.get("username") is not None:
        key.error("there is a `username`, too", "keep one of the two")
    if said.get("stream") is not None and (index := said.get("index")) is not None:
        index.error("there is a `stream`, too", "keep one of the two")


def _credential(value: Value) -> str | None:
    text = words(value, "text")
    if text is not None and (not text.isprintable() or len(text) > 1024):
        value.must_be("printable text of 1024 characters at most")
        return None
    return text


def _url(value: Value) -> str | None:
    """`http` or `https`, a host, perhaps a port and a path; no name and no password."""
    hint = "such as `https://192.0.2.1:9200`"
    text = words(value, "a URL", hint)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable()
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\\?#]", text):
        value.error(f"{shown(text)} is no URL of a cluster", hint)
        return None
    if "@" in parts.netloc:
        value.error("a URL is no place for a password", "`username` and `password-file`")
        return None
    return text.rstrip("/")


def _stream(value: Value) -> str | None:
    """A data stream's name, as Elasticsearch and OpenSearch allow it."""
    text = words(value, "the name of a data stream")
    if text is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_.+-]{0,199}", text):
        value.must_be("the name of a data stream", "lower case letters, digits, `-`, `_` and `.`, a letter or digit first")
        return None
    return text


def _octets(value: Value) -> int | None:
    """`256MiB`; from 1 MiB to 1 TiB."""
    wanted = "a size such as `256MiB`, from 1MiB to 1024GiB"
    text = words(value, wanted)
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,12}) ?(KiB|MiB|GiB|)", text)
    octets = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 << 20 <= octets <= 1 << 40:
        value.must_be(wanted)
        return None
    return octets
