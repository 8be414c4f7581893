"""`python -m bench [--quick] [--only WORDS]`: measure, print, and write bench/RESULTS.md and results.json (unless --only)."""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import platform
import sys
from pathlib import Path

from bench import bgp_cases, check_cases, control_cases, log_cases, metrics_cases, packet_cases, results, site_cases, wire_cases


def machine() -> str:
    """Kernel, CPU and date: figures mean nothing without."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?"
    )
    load = os.getloadavg()[0]
    today = dt.datetime.now(dt.UTC).date()
    return f"Linux {platform.release()}, {model}, {os.cpu_count()} CPUs, {today}; load average before the run {load:.1f}."


def bind() -> None:
    """One CPU, ahead of everything that is not real-time: the last CPU, because interrupts favour the first."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    except PermissionError:
        print("not allowed to run at real-time priority: expect noise", file=sys.stderr)


def main() -> int:
    """0, or 1 when a `must` is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the packets: to see that it works, not to quote")
    parser.add_argument("--only", default="", help="only cases whose name contains this; nothing is written")
    args = parser.parse_args()
    where = machine()
    packet_cases.own_network()
    bind()
    packets, runs = (100_000, 5) if args.quick else (1_000_000, 11)
    figures = []
    for figure in itertools.chain(
        packet_cases.figures(packets, runs, args.only),
        wire_cases.figures(packets, runs, args.only),
        control_cases.figures(runs * 2, args.only),
        check_cases.figures(runs, args.only),
        bgp_cases.figures(runs, args.only),
        log_cases.figures(runs, args.only),
        metrics_cases.figures(runs, args.only),
        site_cases.figures(runs, args.only, quick=args.quick),
    ):
        print(
            f"{figure.case:60s} {figure.value:8.1f} {figure.unit}  ({figure.least:.1f} - {figure.most:.1f}) {figure.standing}",
            flush=True,
        )
        figures.append(figure)
    if not args.only and not args.quick:
        results.write(figures, where)
    return 1 if any(f.standing == "MISSED" for f in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
