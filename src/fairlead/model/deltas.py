"""What of the status is another than it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.model.status import PeerStatus, ServiceStatus, VipStatus


@dataclass(frozen=True, slots=True)
class StatusDelta:
    """Services, VIPs and peers that are new or others than before, each as a whole; `gone` are names of those that went.

    `fields` are all other fields of the status that changed. Laid over what was there it gives the status at `at`, a Unix time;
    the first of a stream is against nothing.
    """

    at: float
    fields: Mapping[str, object]
    services: tuple[ServiceStatus, ...] = ()
    vips: tuple[VipStatus, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    gone: tuple[str, ...] = ()  # "192.0.2.10:80/tcp", "192.0.2.10", "10.0.0.1"
