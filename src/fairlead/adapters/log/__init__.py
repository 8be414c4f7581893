"""Where events go: the hub that keeps the last of them and hands each to its sinks, and the sinks of this machine."""

from fairlead.adapters.log.hub import KEPT, Log, Sink, Subscription
from fairlead.adapters.log.lines import Lines

__all__ = ["KEPT", "Lines", "Log", "Sink", "Subscription"]
