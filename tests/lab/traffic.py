"""Real traffic through labs of any topology: requests, uploads, datagrams, each told with who answered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.lab.conftest import new_name
from tests.lab.kit import TOOLS, Failed, Lab, eventually

PORT = "9000"  # of the tests' own servers, TCP and UDP
MEGABYTES_8 = 8 << 20
_fresh = itertools.count(1)


def fresh(version: int, client: int = 1) -> str:
    """An address of a client's pool that nobody has used: whatever has been learned about a path does not hold for it."""
    number = next(_fresh)
    if version == 6:
        return f"fd1a:b:c{client}::{number:x}"
    return f"198.19.{(128 if client == 2 else 0) + number // 250}.{number % 250 + 1}"


@contextmanager
def site(topology: str, xdp: str = "native") -> Iterator[Lab]:
    """A lab of that topology, up, with the tests' own servers on every backend."""
    lab = Lab(new_name(), xdp, topology)
    try:
        lab.up()
        with ExitStack() as stack:
            for home in sorted((lab.directory / "hosts").glob("backend*")):
                server = stack.enter_context(lab.running(home.name, "python3", str(TOOLS), "serve", home.name, PORT))
                assert server.stdout is not None
                assert server.stdout.readline() == "ready\n"
            yield lab
    finally:
        lab.down()


def backends(lab: Lab, vip: str, wanted: int, client: str = "client1") -> set[str]:
    """Who answers HTTP at a VIP: requests until there have been `wanted` names, or 80. Each has to succeed."""
    names: set[str] = set()
    for _ in range(80):
        name, says = lab.get(vip, client).split(" ", 1)
        assert says.endswith(f"ask for {vip}\n"), says
        names.add(name)
        if len(names) == wanted:
            break
    return names


def tool(lab: Lab, host: str, *words: str) -> dict[str, Any]:
    """Run one of tools.py's verbs and return what it printed."""
    found: dict[str, Any] = json.loads(lab.run(host, "python3", str(TOOLS), *words, within=60))
    return found


def upload(lab: Lab, vip: str, source: str = "", size: int = MEGABYTES_8, client: str = "client1") -> int:
    """Upload random bytes; fails unless every byte arrived in order. The number of segments that were sent again."""
    told = tool(lab, client, "upload", vip, PORT, str(size), *([source] if source else []))
    assert told["sink"] == told["sent"]
    again: int = told["retransmits"]
    return again


def ask(lab: Lab, vip: str, size: int, count: int, client: str = "client1") -> dict[str, int]:
    """Datagrams of a size there and back; fails if one was changed or not answered. How many each backend answered."""
    told = tool(lab, client, "ask", vip, PORT, str(size), str(count))
    assert (told["wrong"], told["lost"]) == (0, 0), told
    answers: dict[str, int] = told["answers"]
    return answers


def verdicts(lab: Lab) -> dict[str, int]:
    """The packets of each verdict so far."""
    return {name: counted["packets"] for name, counted in lab.status()["verdicts"].items()}


@contextmanager
def narrow(lab: Lab, host: str, interface: str, mtu: int) -> Iterator[None]:
    """A link that takes less, for a while."""
    lab.run(host, "ip", "link", "set", interface, "mtu", str(mtu))
    try:
        yield
    finally:
        lab.run(host, "ip", "link", "set", interface, "mtu", "1500")


def forget(lab: Lab, *hosts: str) -> None:
    """Forget what these hosts have learned about paths."""
    for host in hosts:
        lab.run(host, "ip", "route", "flush", "cache")
        lab.run(host, "ip", "-6", "route", "flush", "cache")


def counted(lab: Lab, host: str, name: str) -> int:
    """An SNMP counter of a host, such as IcmpInDestUnreachs."""
    for line in lab.run(host, "nstat", "-asz", name).splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise Failed(f"{host} has no counter {name}")


def download_over_narrow_link(lab: Lab, vip: str) -> None:
    """8 MB come down to a client behind a link of 1,300 bytes: the router's ICMP errors to the VIP find their backend.

    And only that one. The client's address is a fresh one, so that no backend knows its path yet.
    """
    version = 6 if ":" in vip else 4
    names = [home.name for home in sorted((lab.directory / "hosts").glob("backend*"))]
    counter = "Icmp6InPktTooBigs" if version == 6 else "IcmpInDestUnreachs"
    for name in names:
        (lab.home(name) / "www" / "big").write_bytes(bytes(MEGABYTES_8))
    before = {name: counted(lab, name, counter) for name in names}
    relayed = verdicts(lab)
    with narrow(lab, "router", "client1", 1300):
        url = f"http://[{vip}]/big" if version == 6 else f"http://{vip}/big"
        form = "%{size_download} %header{x-backend}"
        words = ("-sS", "-g", "-f", "-m", "20", "--interface", fresh(version), "-o", "/dev/null", "-w", form, url)
        size, answered = lab.run("client1", "curl", *words).split()
    assert int(size) == MEGABYTES_8
    told = {name for name in names if counted(lab, name, counter) > before[name]}
    assert told == {answered}
    now = verdicts(lab)
    assert any(now[name] > relayed[name] for name in ("icmp_relayed", "redirected_icmp_relayed"))


def all_answer(lab: Lab, vips: tuple[str, ...], wanted: int) -> None:
    """Every backend answers at every VIP."""
    for vip in vips:
        eventually(lambda vip=vip: len(backends(lab, vip, wanted)) == wanted)  # type: ignore[misc]
