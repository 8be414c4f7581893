"""An event with its time and its number, and how it is written for those who read it: people, journald, syslog, clusters."""

from fairlead.records.record import SEVERITIES, Record, facts, shown

__all__ = ["SEVERITIES", "Record", "facts", "shown"]
