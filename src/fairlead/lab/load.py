"""Clients of a lab at work: one `fairlead.lab.client` in each client's namespace, what they report, added up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fairlead.lab import life
from fairlead.lab.client import Failure
from fairlead.lab.life import Lab
from fairlead.lab.topology import Role


class Load:
    """Load on all targets from all clients, running from the start of the `with` block until `finish()`, or its end."""

    def __init__(self, lab: Lab, targets: Sequence[str], *options: str) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()  # (target, backend) -> whole answers
        self.failures: list[Failure] = []
        self.slowest = 0.0  # seconds
        self._lock = threading.Lock()
        self._processes = [_start(lab, client.name, (*options, *targets)) for client in lab.topology.of(Role.CLIENT)]
        self._readers = [threading.Thread(target=self._read, args=(process,)) for process in self._processes]

    def __enter__(self) -> Self:
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            for process in self._processes:
                process.kill()
        self.finish()

    def finish(self) -> None:
        """Let no new request begin, wait for those in the air."""
        for process in self._processes:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
        self.wait()

    def wait(self) -> None:
        """Wait until every client has made its requests."""
        for reader, process in zip(self._readers, self._processes, strict=True):
            reader.join()
            process.wait()

    def running(self) -> bool:
        """Whether some client still works."""
        return any(reader.is_alive() for reader in self._readers)

    def done(self) -> int:
        """Requests that have ended, well or badly."""
        with self._lock:
            return self.answers.total() + len(self.failures)

    def by_backend(self) -> Counter[str]:
        """Whole answers of each backend, over all targets."""
        found: Counter[str] = Counter()
        with self._lock:
            for (_, backend), count in self.answers.items():
                found[backend] += count
        return found

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._add(json.loads(line))

    def _add(self, report: dict[str, Any]) -> None:
        with self._lock:
            for target, counts in report["answers"].items():
                for backend, count in counts.items():
                    self.answers[target, backend] += count
            self.failures += [Failure(**failure) for failure in report["failures"]]
            self.slowest = max(self.slowest, report["slowest"])


def _start(lab: Lab, client: str, options: Sequence[str]) -> subprocess.Popen[str]:
    argv, env = life.command(lab, client, (sys.executable, "-m", "fairlead.lab.client", *options))
    return subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
