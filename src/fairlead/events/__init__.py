"""Everything that can be logged, as types: one frozen dataclass an event, which prints as one sentence.

Sinks are adapters; they get the object, not the sentence, and may use its fields. `level` is a syslog severity (RFC 5424 section
6.2.1): 3 error, 4 warning, 5 notice, 6 informational, 7 debug.
"""

from fairlead.events.blocks import SourceBlocked, SourceUnblocked
from fairlead.events.event import Event
from fairlead.events.health import (
    BackendDown,
    BackendReleased,
    BackendSuppressed,
    BackendUp,
    BackupsRested,
    BackupsUsed,
    PanicBegan,
    PanicEnded,
    Probed,
    VipDown,
    VipUp,
)
from fairlead.events.life import (
    AccessRefused,
    ApiListens,
    Applied,
    Cleared,
    HandedOver,
    Overridden,
    Reloaded,
    ReloadRefused,
    SelfDrained,
    SinkRecovered,
    SinkTroubled,
    Started,
    Stopped,
    Warned,
)
from fairlead.events.network import PathChanged, PeerDown, PeerUp, TunnelTroubled
from fairlead.events.tables import Attached, Operated, OperationFailed, ProgramLost, Repaired

__all__ = [
    "AccessRefused",
    "ApiListens",
    "Applied",
    "Attached",
    "BackendDown",
    "BackendReleased",
    "BackendSuppressed",
    "BackendUp",
    "BackupsRested",
    "BackupsUsed",
    "Cleared",
    "Event",
    "HandedOver",
    "Operated",
    "OperationFailed",
    "Overridden",
    "PanicBegan",
    "PanicEnded",
    "PathChanged",
    "PeerDown",
    "PeerUp",
    "Probed",
    "ProgramLost",
    "ReloadRefused",
    "Reloaded",
    "Repaired",
    "SelfDrained",
    "SinkRecovered",
    "SinkTroubled",
    "SourceBlocked",
    "SourceUnblocked",
    "Started",
    "Stopped",
    "TunnelTroubled",
    "VipDown",
    "VipUp",
    "Warned",
]
