"""How Fairlead speaks to others, as configured: API, metrics, logs, alerts; and the state of what it speaks through."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Literal

from fairlead.model.places import Address

Probes = Literal["all", "changes"]


@dataclass(frozen=True, slots=True)
class Api:
    """HTTP over TCP, besides the unix socket. `hosts`: names that a Host header may say, besides localhost and addresses.

    Without `token_file` nothing can be changed over TCP, and nothing read unless `public_read`.
    """

    listen: tuple[tuple[Address, int], ...] = ((IPv4Address("127.0.0.1"), 8080),)
    token_file: str | None = None
    public_read: bool = False
    certificate: str | None = None  # PEM file, the chain after it; with it TLS is spoken, and nothing else
    key: str | None = None  # PEM file
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """An Elasticsearch or OpenSearch cluster that events go to: a data stream `stream`, by bulk `create`."""

    kind: Literal["elasticsearch", "opensearch"] = "elasticsearch"
    addresses: tuple[str, ...] = ()  # URLs
    stream: str = "logs-fairlead-default"
    username: str = ""
    password: str = field(default="", repr=False)  # VC5 has it in the file; a file of its own is better
    password_file: str | None = None
    api_key_file: str | None = None
    ca_file: str | None = None
    probes: Probes = "all"
    queue: int = 10000  # events in memory
    spool: int = 256 << 20  # octets on disk

    def files(self) -> dict[str, str | None]:
        """The files that it takes to log in, by the key that names each."""
        return {"password-file": self.password_file, "api-key-file": self.api_key_file, "ca-file": self.ca_file}


@dataclass(frozen=True, slots=True)
class Syslog:
    """To a socket of this machine (`address` is its path), or over UDP or TCP to another: `address` is "192.0.2.1:514".

    `local` is the form that the daemons of one machine read from their own socket: without version, host and data.
    """

    address: str = "/dev/log"
    transport: Literal["unix", "udp", "tcp"] = "unix"
    format: Literal["rfc5424", "local"] = "rfc5424"
    facility: int = 3  # daemon
    probes: Probes = "changes"


@dataclass(frozen=True, slots=True)
class Alert:
    """Where people are told: events of severity `level` or worse, about services of `priorities` (empty: all).

    What comes within `group` seconds is one message, and no more than `most` messages leave in an hour.
    """

    kind: Literal["slack", "teams", "webhook"]
    url: str = ""
    url_file: str | None = None  # the URL of Slack and Teams is a secret
    token_file: str | None = None  # for `Authorization: Bearer`
    ca_file: str | None = None
    level: int = 4
    priorities: tuple[str, ...] = ()
    group: float = 10.0
    most: int = 60


@dataclass(frozen=True, slots=True)
class Logging:
    """Where events go, besides standard error. `probes` is of standard error and the journal."""

    format: Literal["auto", "text", "json", "journal"] = "auto"  # auto: text on a terminal, the journal under systemd, else JSON
    probes: Probes = "changes"
    syslog: Syslog | None = None
    searches: tuple[Search, ...] = ()
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """One place that events go to. `queued` events wait in memory, `spooled` octets on disk; Unix times, 0 for never."""

    name: str  # "stderr", "journal", "syslog 192.0.2.1:514", "elasticsearch", "slack"
    sent: int = 0
    dropped: int = 0  # events that went nowhere: no room
    refused: int = 0  # events that the other side will never take
    queued: int = 0
    spooled: int = 0
    last_error: str = ""
    last_error_at: float = 0.0
    troubled: bool = False  # it does not take events now; `last_error` says why


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """What the daemon itself does. Times in seconds; counters since it started."""

    passes: int = 0
    pass_seconds: float = 0.0  # of all passes together
    pass_last: float = 0.0
    pass_longest: float = 0.0
    loop_delay: float = 0.0  # how late the event loop was, at most, in the last minute
    probes: int = 0  # health checks run
    probe_failures: int = 0
    events: int = 0
    memory: int = 0  # resident octets
    descriptors: int = 0  # open
    cpu: float = 0.0  # seconds, user and system
