"""Routers that are not BIRD, behind one interface: FRR and GoBGP, unpacked under .tools/, each in the router's namespace.

Both wait for us (passive), speak IPv4 and IPv6 over one session, help a restarting speaker, and say what they have in JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.wire.conftest import ROOT, eventually, run

OURS, THEIRS = {4: "10.99.0.1", 6: "fd99::1"}, {4: "10.99.0.2", 6: "fd99::2"}  # of Fairlead, of the router
Told = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Terms:
    """What the router's configuration says of the session with us."""

    our_as: int = 4200000002  # the router's
    remote_as: int = 4200000001
    transport: int = 4
    password: str = ""
    ttl_security: bool = False


def program(tool: str, path: str) -> Path:
    """An unpacked program or one on PATH; the test fails without it, as with BIRD."""
    for place in (ROOT / ".tools" / tool / path, shutil.which(Path(path).name)):
        if place and os.access(place, os.X_OK):
            return Path(place)
    pytest.fail(f"{Path(path).name} is missing: run `make setup`, which unpacks it under .tools/", pytrace=False)


class Router(ABC):
    """A router of one session, with Fairlead. Its processes run in the foreground and die with the test."""

    def __init__(self, namespace: str, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.terms = Terms()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def neighbour(self) -> str:
        """Our address, by which the router knows us."""
        return OURS[self.terms.transport]

    def start(self, **terms: Any) -> Router:
        """Begin with these terms, or begin again with others."""
        self.terms = Terms(**terms)
        return self.restart()

    def restart(self) -> Router:
        """Begin again with the same terms: what a router's death and return are."""
        self.stop()
        self._run()
        eventually(self._listens, what="the router's port")
        return self

    def _spawn(self, *command: str | Path, env: dict[str, str] | None = None) -> None:
        with (self.directory / "log").open("ab") as log:
            argv = ["ip", "netns", "exec", self.namespace, *map(str, command)]
            self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log, env=os.environ | (env or {})))

    def _listens(self) -> bool:
        assert all(process.poll() is None for process in self._processes), f"the router ended: {self.log()}"
        return ":179 " in run("ip", "netns", "exec", self.namespace, "ss", "-Hltn")

    def stop(self) -> None:
        """SIGKILL."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(10)
        self._processes.clear()

    def log(self) -> str:
        return (self.directory / "log").read_text()

    @abstractmethod
    def _run(self) -> None: ...

    @abstractmethod
    def routes(self) -> Told:
        """Prefix -> as_path (numbers), next_hop, med, local_pref, communities and large (as it prints them), stale."""

    @abstractmethod
    def updates(self) -> int:
        """UPDATEs that it has received in this session."""

    @abstractmethod
    def disable(self, words: str) -> None:
        """Administrative shutdown with words for us."""

    @abstractmethod
    def enable(self) -> None: ...


class Frr(Router):
    """zebra, without which bgpd resolves no next hop, and bgpd.

    FRR insists on groups that only its package's scripts make: they stand in copies of passwd and group that are mounted over the
    machine's, in the mount namespace that `ip netns exec` has made for each process.
    """

    def _run(self) -> None:
        tools, here = program("frr", "usr/lib/frr/bgpd").parent, self.directory
        for stale in here.glob("*.vty"):
            stale.unlink()
        (here / "passwd").write_text(Path("/etc/passwd").read_text() + "frr:x:64001:64001::/:/bin/false\n")
        (here / "group").write_text(Path("/etc/group").read_text() + "frr:x:64001:\nfrrvty:x:64002:root,frr\n")
        (here / "frr.conf").write_text(self._config())
        mounts = f"mount --bind {here}/passwd /etc/passwd && mount --bind {here}/group /etc/group"
        for daemon in ("zebra", "bgpd"):
            options = f"-u root -g root -z {here}/zserv --vty_socket {here} -f {here}/frr.conf -i {here}/{daemon}.pid -P 0"
            private = tools.parents[1] / "lib" / f"{os.uname().machine}-linux-gnu"
            self._spawn(
                "sh", "-c", f"{mounts} && exec {tools}/{daemon} {options}", env={"LD_LIBRARY_PATH": f"{private}/frr:{private}"}
            )
            eventually((here / f"{daemon}.vty").exists, what=daemon)

    def _config(self) -> str:
        terms, us = self.terms, self.neighbour
        families = "".join(f" address-family ipv{v} unicast\n  neighbor {us} activate\n exit-address-family\n" for v in (4, 6))
        return f"""log stdout
router bgp {terms.our_as}
 bgp router-id 10.99.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor {us} remote-as {terms.remote_as}
 neighbor {us} passive
 {f"neighbor {us} password {terms.password}" if terms.password else "!"}
 {f"neighbor {us} ttl-security hops 1" if terms.ttl_security else "!"}
{families}"""

    def ask(self, command: str, *more: str) -> str:
        """Of bgpd, over its own socket: a command ends with NUL, an answer with three and the return code (lib/vty.c)."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10)
            link.connect(str(self.directory / "bgpd.vty"))
            for line in ("enable", command, *more):
                link.sendall(line.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":
                    answer += link.recv(65536)
                assert answer[-1] == 0, f"FRR: {line}: {answer[:-4].decode()}"
        return answer[:-4].decode()

    def routes(self) -> Told:
        return {p: told for v in (4, 6) for p, told in self._family(v).items()}

    def _family(self, version: int) -> Told:
        found: Told = {}
        for prefix in json.loads(self.ask(f"show bgp ipv{version} unicast json")).get("routes", {}):
            text = self.ask(f"show bgp ipv{version} unicast {prefix} json")
            for path in json.loads(text).get("paths", ()):
                segments = path["aspath"]["segments"]
                found[prefix] = {
                    "as_path": [n for segment in segments for n in segment["list"]],
                    "next_hop": path["nexthops"][0]["ip"],
                    "med": path.get("metric"),
                    "local_pref": path.get("locPrf"),
                    "communities": path.get("community", {}).get("string", ""),
                    "large": path.get("largeCommunity", {}).get("string", ""),
                    "stale": path.get("stale", False),
                }
        return found

    def _said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(f"show bgp neighbors {self.neighbour} json"))[self.neighbour]
        return found

    def updates(self) -> int:
        return int(self._said()["messageStats"]["updatesRecv"])

    def refresh(self) -> None:
        """Have it ask for all routes again (RFC 2918). GoBGP cannot: its `softresetin` only filters anew what it has."""
        for version in (4, 6):
            self.ask(f"clear bgp ipv{version} unicast {self.neighbour} in")

    def disable(self, words: str) -> None:
        self._configure(f"neighbor {self.neighbour} shutdown message {words}")

    def enable(self) -> None:
        self._configure(f"no neighbor {self.neighbour} shutdown")

    def _configure(self, line: str) -> None:
        self.ask("configure terminal", f"router bgp {self.terms.our_as}", line)


class Gobgp(Router):
    """gobgpd, spoken to through its own command over a socket in the directory."""

    def _run(self) -> None:
        daemon = program("gobgp", "usr/bin/gobgpd")
        self._control = program("gobgp", "usr/bin/gobgp")
        (self.directory / "api").unlink(missing_ok=True)
        (self.directory / "gobgp.toml").write_text(self._config())
        self._spawn(daemon, "-f", self.directory / "gobgp.toml", "--pprof-disable", "--api-hosts", f"unix://{self.directory}/api")

    def _config(self) -> str:
        terms = self.terms
        families = "".join(
            f'[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "ipv{v}-unicast"\n'
            "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
            for v in (4, 6)
        )
        hops = "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n" if terms.ttl_security else ""
        password = f'auth-password = "{terms.password}"\n' if terms.password else ""
        return f"""[global.config]
as = {terms.our_as}
router-id = "10.99.0.2"
local-address-list = ["{THEIRS[terms.transport]}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "{self.neighbour}"
peer-as = {terms.remote_as}
{password}[neighbors.transport.config]
passive-mode = true
[neighbors.graceful-restart.config]
enabled = true
helper-only = true
restart-time = 120
{hops}{families}"""

    def ask(self, *words: str) -> str:
        return run(str(self._control), "--target", f"unix://{self.directory}/api", *words)

    def routes(self) -> Told:
        found: Told = {}
        for family in ("ipv4", "ipv6"):
            for prefix, (path, *_) in json.loads(self.ask("global", "rib", "-a", family, "-j") or "{}").items():
                found[prefix] = self._route({said["type"]: said for said in path["attrs"]}) | {"stale": path.get("stale", False)}
        return found

    @staticmethod
    def _route(said: dict[int, dict[str, Any]]) -> dict[str, Any]:
        communities = [f"{number >> 16}:{number & 0xFFFF}" for number in said.get(8, {}).get("communities", ())]
        large = [f"{v['ASN']}:{v['LocalData1']}:{v['LocalData2']}" for v in said.get(32, {}).get("value", ())]
        return {
            "as_path": [n for segment in said.get(2, {}).get("as_paths", ()) for n in segment["asns"]],
            "next_hop": (said.get(3) or said[14])["nexthop"],
            "med": said.get(4, {}).get("metric"),
            "local_pref": said.get(5, {}).get("value"),
            "communities": " ".join(communities),
            "large": " ".join(large),
        }

    def _said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("neighbor", self.neighbour, "-j"))
        return found

    def updates(self) -> int:
        return int(self._said()["state"]["messages"]["received"].get("update", 0))

    def disable(self, words: str) -> None:
        self.ask("neighbor", self.neighbour, "shutdown", "--reason", words)  # its `disable` leaves the words out

    def enable(self) -> None:
        self.ask("neighbor", self.neighbour, "enable")
