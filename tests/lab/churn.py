"""What goes on around a daemon that is watched: servers and services come and go, operators and readers, receivers are away."""

from __future__ import annotations

import json
import random
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from fairlead.cli import online
from tests import receiver
from tests.lab.hitless import BACKENDS, Balancer
from tests.lab.kit import eventually
from tests.search import elastic

SEARCH_PORT, HOOK_PORT = 9200, 8090
MANY = 40  # services that come and go with a reload
PLACES = f"""
logging:
  elasticsearch: {{addresses: "http://127.0.0.1:{SEARCH_PORT}", probes: all}}
  webhook: {{url: "http://127.0.0.1:{HOOK_PORT}/hook", level: notice, group: 200ms, most: 3600}}
"""
_HABITS = ("503 429", "slow item429 item503", "page reset lost", "")  # of the cluster, as its `script` has them
_SILENT = "hang"  # it costs half a minute
_WARM = 2  # of each act
_PROGRAMS = 8  # each thread of the pool keeps what loading a program once took


class Outside:
    """The receivers of events, on the balancer itself. Each may be taken away and brought back."""

    def __init__(self, balancer: Balancer) -> None:
        self._lab = balancer.lab
        self.directory = balancer.lab.directory / "receivers"
        self.directory.mkdir(exist_ok=True)
        self._stacks: dict[str, ExitStack] = {}

    def start(self) -> None:
        """Both of them; returns once they listen."""
        self._begin("search", str(Path(elastic.__file__)), str(SEARCH_PORT), str(self.directory), "elasticsearch", "")
        self._begin("hook", str(Path(receiver.__file__)), "127.0.0.1", str(HOOK_PORT), str(self.directory / "inbox"))

    def stop(self, *names: str) -> None:
        """SIGKILL to these, to all without a name."""
        for name in names or tuple(self._stacks):
            if name in self._stacks:
                self._stacks.pop(name).close()

    def _begin(self, name: str, *words: str) -> None:
        if name in self._stacks:
            return
        with ExitStack() as stack:
            stack.enter_context(self._lab.running("balancer1", sys.executable, *words))
            port = str(SEARCH_PORT if name == "search" else HOOK_PORT)
            eventually(lambda: f":{port} " in self._lab.run("balancer1", "ss", "-Hltn", f"sport = :{port}"))
            self._stacks[name] = stack.pop_all()

    def documents(self) -> int:
        """How many events the cluster has; each one once."""
        with suppress(FileNotFoundError):
            names = [json.loads(line)["_id"] for line in (self.directory / "documents").read_text().splitlines()]
            assert len(names) == len(set(names)), "an event is there twice"
            return len(names)
        return 0

    def messages(self) -> int:
        """How many alerts came."""
        with suppress(FileNotFoundError):
            return len((self.directory / "inbox").read_text().splitlines())
        return 0

    def odd(self) -> str:
        """What the cluster did not understand."""
        with suppress(FileNotFoundError):
            return (self.directory / "odd").read_text()
        return ""


class Churn:
    """The acts. Each returns once the daemon shows what came of it, and all is as before."""

    def __init__(self, balancer: Balancer, outside: Outside, chance: random.Random, *, patient: bool = True) -> None:
        self.balancer, self.outside = balancer, outside
        self.patient = patient
        self._habits = (*_HABITS, _SILENT) if patient else _HABITS
        self._lab, self._chance = balancer.lab, chance
        self.done: dict[str, int] = {}

    def acts(self) -> dict[str, Callable[[], None]]:
        """By name."""
        return {
            "server dies": self.flap,
            "reload": self.reload,
            "override": self.override,
            "readers": self.readers,
            "refused": self.refused,
            "program": self.balancer.replace_program,
        }

    def warm_up(self) -> None:
        """Everything has been done before, so that what is kept for the next time is there."""
        for act in self.acts().values():
            for _ in range(_WARM):
                act()
        for _ in range(_PROGRAMS):
            self.balancer.replace_program()

    def some(self, count: int) -> None:
        """So many of them, by chance."""
        for name in self._chance.choices(tuple(self.acts()), k=count):
            self.acts()[name]()
            self.done[name] = self.done.get(name, 0) + 1

    def _ask(self, method: str, target: str) -> Any:
        code, body = online.ask(self.balancer.socket, method, target)
        assert code == 200, (target, body)
        return body

    def flap(self) -> None:
        """A server's program ends and begins; what is asked of it goes down and comes up."""
        number = self._chance.randrange(len(BACKENDS))
        self._lab.cli("kill", BACKENDS[number])
        ends = f"2{number + 1}"
        eventually(lambda: "down" in self._states(ends))
        self._lab.cli("start", BACKENDS[number])
        eventually(lambda: self._states(ends) == {"up"}, 15)

    def _states(self, ends: str) -> set[str]:
        return {b["state"] for s in self.balancer.status()["services"] for b in s["backends"] if b["address"].endswith(ends)}

    def reload(self) -> None:
        """Services come and go."""
        config = self._lab.config_path.read_text()
        more = "".join(
            f"  - {{virtual: 198.51.100.{n}, servers: [192.0.2.21, 192.0.2.22, 192.0.2.23], policy: {{80*: }}}}\n"
            for n in range(1, MANY + 1)
        )
        before = len(self.balancer.status()["services"])
        for text, count in ((config.replace("\nservices:\n", f"\nservices:\n{more}"), before + MANY), (config, before)):
            self._lab.config_path.write_text(text)
            self._ask("POST", "/v1/reload")
            eventually(lambda count=count: len(self.balancer.status()["services"]) == count)  # type: ignore[misc]

    def refused(self) -> None:
        """A reload that is refused changes nothing."""
        config = self._lab.config_path.read_text()
        self._lab.config_path.write_text(f"{config}\nservises: []\n")
        code, _ = online.ask(self.balancer.socket, "POST", "/v1/reload")
        assert code != 200
        self._lab.config_path.write_text(config)
        self._ask("POST", "/v1/reload")

    def override(self) -> None:
        """A server is drained and let in again, weighed and weighed back."""
        backend = f"192.0.2.2{self._chance.randrange(len(BACKENDS)) + 1}"
        for words in ("state=drain", "state=active", "weight=3"):
            self._ask("POST", f"/v1/override?backend={backend}&{words}")
        self._ask("POST", f"/v1/clear?backend={backend}")

    def readers(self) -> None:
        """People and programs that look: all of the API, and some who leave in the middle of an answer."""
        for target in ("/v1/status", "/v1/flows", "/v1/events", "/v1/bgp", "/metrics", "/openapi.json"):
            code, _ = online.ask(self.balancer.socket, "GET", target)
            assert code in (200, 404), target
        for target in ("/v1/status", "/v1/events/stream", "/v1/events"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(self.balancer.socket)
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                connection.recv(100)

    def outage(self, acts: int) -> None:
        """The receivers are away, one of them silent at first, while other things go on; then they are back."""
        (self.outside.directory / "script").write_text(self._chance.choice(self._habits))
        self.some(acts)
        self.outside.stop(*self._chance.choice((("search",), ("hook",), ())))
        self.some(acts)
        self.outside.start()
        self.done["outage"] = self.done.get("outage", 0) + 1

    def calm(self) -> dict[str, Any]:
        """Everything up and nothing waiting; the status then."""
        eventually(self.balancer.up, 20)
        status: dict[str, Any] = eventually(self._empty, 60, every=0.2)
        return status

    def _empty(self) -> dict[str, Any] | None:
        status = self.balancer.status()
        waits = [s for s in status["sinks"] if s["queued"] > 100 or s["spooled"]]  # probes go on: some events always wait
        return None if waits else status

    def lost(self) -> list[str]:
        """Events that did not arrive, in words; of this life."""
        sinks = self.balancer.status()["sinks"]
        return [f"{s['name']}: {s['dropped']} dropped, {s['refused']} refused" for s in sinks if s["dropped"] or s["refused"]]
