"""Where events go: the hub that keeps the last of them and hands each to its sinks, and the sinks of this machine."""

from fairlead.adapters.log.hub import KEPT, Log, Sink, Subscription
from fairlead.adapters.log.journal import Journal, connected
from fairlead.adapters.log.lines import Lines
from fairlead.adapters.log.syslog import SyslogSink

__all__ = ["KEPT", "Journal", "Lines", "Log", "Sink", "Subscription", "SyslogSink", "connected"]
