"""The daemon itself: tables, passes, repairs, what it takes of the machine, and where its events go."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.metrics.family import Family, Group, counter, gauge
from fairlead.model import LimitStatus, SinkStatus, Status, TableStatus, WorkStatus

_AGREEMENT = 13  # hexadecimal digits, 52 bits: what a float holds exactly


def _whole(status: Status) -> Iterator[tuple[tuple[object, ...], Status]]:
    yield (), status


def _work(status: Status) -> Iterator[tuple[tuple[object, ...], WorkStatus]]:
    yield (), status.work


def _build(status: Status) -> Iterator[tuple[tuple[str, str], int]]:
    yield (status.version, status.key_fingerprint), 1


def _tables(status: Status) -> Iterator[tuple[tuple[str], TableStatus]]:
    return (((table.name,), table) for table in status.tables)


def _counted(status: Status) -> Iterator[tuple[tuple[str], TableStatus]]:
    return (((table.name,), table) for table in status.tables if table.used is not None)


def _limits(status: Status) -> Iterator[tuple[tuple[str], LimitStatus]]:
    return (((limit.name,), limit) for limit in status.limits)


def _probes(status: Status) -> Iterator[tuple[tuple[str], int]]:
    yield ("passed",), status.work.probes - status.work.probe_failures
    yield ("failed",), status.work.probe_failures


def _sinks(status: Status) -> Iterator[tuple[tuple[str], SinkStatus]]:
    """Two of the same name are told apart by a number."""
    seen: dict[str, int] = {}
    for sink in status.sinks:
        seen[sink.name] = number = seen.get(sink.name, 0) + 1
        yield (sink.name if number == 1 else f"{sink.name} ({number})",), sink


BUILD = Group(
    ("version", "key_fingerprint"),
    _build,
    (gauge("fairlead_build_info", "Version of the daemon, and which key its flow table has.", int),),
)
WHOLE = Group(
    (),
    _whole,
    (
        gauge("fairlead_start_time_seconds", "Unix time of the daemon's start.", lambda s: s.started),
        gauge(
            "fairlead_tables_fingerprint",
            "The first 52 bits of the hash over all tables: equal on balancers that send a flow to the same backend.",
            lambda s: int(s.tables_hash[:_AGREEMENT] or "0", 16),
        ),
        gauge("fairlead_problems", "Sentences of `fairlead status` that say what is degraded.", lambda s: len(s.problems)),
        gauge("fairlead_blocked_prefixes", "Prefixes whose packets to VIPs are dropped.", lambda s: s.blocks),
        gauge("fairlead_warnings", "What `fairlead status` warns of.", lambda s: len(s.warnings)),
        gauge("fairlead_overrides", "Overrides by operators that are in force.", lambda s: sum(o.effective for o in s.overrides)),
        counter(
            "fairlead_repairs_total", "Rows and slots that did not hold what was written, and were repaired.", lambda s: s.repairs
        ),
        gauge("fairlead_tables_memory_bytes", "Kernel memory of all tables.", lambda s: s.memory),
    ),
)
LIMITS = Group(
    ("limit",),
    _limits,
    (
        gauge("fairlead_limit_used", "Use of a limit of the configuration.", lambda t: t.used),
        gauge("fairlead_limit", "The limit; the key `limits` of the configuration raises it.", lambda t: t.limit),
    ),
)
TABLES = Group(
    ("table",),
    _tables,
    (
        gauge("fairlead_table_rows", "Rows of a table.", lambda t: t.rows),
        gauge("fairlead_table_bytes", "Its kernel memory.", lambda t: t.bytes),
    ),
)
COUNTED_TABLES = Group(("table",), _counted, (gauge("fairlead_table_used_rows", "Rows in use.", lambda t: t.used),))
WORK = Group(
    (),
    _work,
    (
        Family(
            "fairlead_pass_duration_seconds",
            "summary",
            "Passes of the reconciler: from facts to tables.",
            lambda w: (w.passes, w.pass_seconds),
        ),
        gauge("fairlead_pass_last_duration_seconds", "How long the last pass took.", lambda w: w.pass_last),
        gauge("fairlead_pass_longest_duration_seconds", "The longest pass since the start.", lambda w: w.pass_longest),
        gauge("fairlead_loop_delay_seconds", "How late the event loop was, at most, in the last minute.", lambda w: w.loop_delay),
        counter("fairlead_events_total", "Events that were logged.", lambda w: w.events),
        counter("fairlead_cpu_seconds_total", "Time on a CPU, user and system.", lambda w: w.cpu),
        gauge("fairlead_resident_memory_bytes", "Memory of the daemon, without the tables.", lambda w: w.memory),
        gauge("fairlead_open_descriptors", "Open file descriptors.", lambda w: w.descriptors),
    ),
)
PROBES = Group(("result",), _probes, (counter("fairlead_probes_total", "Runs of health checks.", int),))
SINKS = Group(
    ("sink",),
    _sinks,
    (
        counter("fairlead_sink_sent_total", "Events that a sink has taken.", lambda s: s.sent),
        counter("fairlead_sink_dropped_total", "Events that went nowhere, for want of room.", lambda s: s.dropped),
        counter("fairlead_sink_refused_total", "Events that the other side will never take.", lambda s: s.refused),
        gauge("fairlead_sink_queued_events", "Events that wait in memory.", lambda s: s.queued),
        gauge("fairlead_sink_spooled_bytes", "Octets of events that wait on disk.", lambda s: s.spooled),
        gauge("fairlead_sink_error_time_seconds", "Unix time of its last error, 0 for never.", lambda s: s.last_error_at),
    ),
)
GROUPS = (BUILD, WHOLE, LIMITS, TABLES, COUNTED_TABLES, WORK, PROBES, SINKS)
