"""What a session stands on once both OPENs are known: the lesser of both sides (RFC 4271 section 4.2, RFC 5492 section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from fairlead.bgp import capabilities
from fairlead.bgp.capabilities import CapabilityCode, Family
from fairlead.bgp.wire import LONGEST_EXTENDED, LONGEST_MESSAGE, Open
from fairlead.model import Address


@dataclass(frozen=True, slots=True)
class Terms:
    """`hold_time` in seconds, 0 for no timer; `local` is our end of the connection."""

    local_as: int
    remote_as: int
    hold_time: int
    families: frozenset[Family]
    four_octet: bool
    local: Address
    router_id: IPv4Address
    via_ipv6: bool = False  # IPv4 routes may have IPv6 next hops, RFC 8950
    longest: int = LONGEST_MESSAGE  # bytes of a message, RFC 8654
    enhanced_refresh: bool = False  # RFC 7313
    restarts: bool = False  # the peer restarts gracefully: a new connection of its replaces the old one, RFC 4724 section 5
    hard_reset: bool = False  # so do NOTIFICATIONs, but for a hard reset, RFC 8538

    @property
    def internal(self) -> bool:
        """iBGP: both ends are in one AS."""
        return self.local_as == self.remote_as


def agree(ours: Open, theirs: Open, local: Address) -> Terms:
    """The terms of a session between these two; `local` is our end."""
    mine, other = (capabilities.restart_of(o.capabilities) for o in (ours, theirs))

    def both(code: CapabilityCode) -> bool:
        return all(capabilities.has(o.capabilities, code) for o in (ours, theirs))

    return Terms(
        local_as=ours.as_number,
        remote_as=theirs.as_number,
        hold_time=min(ours.hold_time, theirs.hold_time),
        families=ours.families & theirs.families,
        four_octet=theirs.four_octet,
        local=local,
        router_id=ours.identifier,
        via_ipv6=all(capabilities.ipv4_via_ipv6(o.capabilities) for o in (ours, theirs)),
        longest=LONGEST_EXTENDED if both(CapabilityCode.EXTENDED_MESSAGE) else LONGEST_MESSAGE,
        enhanced_refresh=both(CapabilityCode.ENHANCED_REFRESH),
        restarts=mine is not None and other is not None and bool(other.families),
        hard_reset=mine is not None and other is not None and mine.notification and other.notification,
    )
