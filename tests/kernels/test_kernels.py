"""The data plane on other kernels: Debian's boot in QEMU, load it, run packets through it, and then balance real transfers.

What this machine's kernel has not, they have: 802.1Q devices, bonds, the kernel's own ends of tunnels. 6.1 has no tcx: the probe
program is attached by clsact. Skipped only where QEMU or the kernel cannot be had (no apt, no network); once they are there,
whatever goes wrong is a failure.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.receivers import DELAY, WAYS, name_of

ROOT = Path(__file__).parents[2]
HOST = ROOT / ".tools" / "kernels" / "host" / "bin"
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
BOOT = 2400  # seconds for one boot with every scenario, without KVM; an idle machine takes a quarter of that

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def images() -> dict[str, Path]:
    """Kernel version -> image, of what `make kernels` has unpacked."""
    return {
        path.name.removeprefix("vmlinuz-"): path
        for mark in sorted((ROOT / ".tools" / "kernels").glob("linux-image-*/.complete"))
        for path in (mark.parent / "boot").glob("vmlinuz-*")
    }


@cache
def fetched() -> str:
    """Fetch QEMU and the kernels if need be; "" or why they cannot be had."""
    done = subprocess.run([str(ROOT / "scripts" / "setup.sh"), "kernels"], capture_output=True, text=True, check=False)
    if images() and shutil.which("qemu-system-x86_64"):
        return ""
    return done.stderr.strip() or "no kernel was unpacked"


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What inside.py found on the newest kernel of this series, scenario by scenario."""
    if why := fetched():
        pytest.skip(f"no QEMU or no kernel: {why}")
    series = {version: path for version, path in images().items() if version.startswith(request.param + ".")}
    if not series:
        pytest.skip(f"this Debian has no {request.param} kernel")
    return {"series": request.param} | boot(list(series.values())[-1], tmp_path_factory.mktemp("kernel"))


def scenario(machine: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in machine:
        pytest.skip(f"{name}: ten minutes of emulation; `make kernels` runs it")
    found: dict[str, Any] = machine[name]
    assert "error" not in found, found["error"]
    return found


@pytest.fixture
def found(machine: dict[str, Any]) -> dict[str, Any]:
    """The objects by themselves: loaded, filled and given single packets."""
    return scenario(machine, "objects")


@pytest.fixture
def tagged(machine: dict[str, Any]) -> dict[str, Any]:
    """`fairlead run` on a trunk, with two 802.1Q devices on it."""
    return scenario(machine, "tagged")


@pytest.fixture
def bonded(machine: dict[str, Any]) -> dict[str, Any]:
    """`fairlead run` on a bond of two, with two 802.1Q devices on it; it loses a member in the middle of the transfers."""
    return scenario(machine, "bonded")


@pytest.fixture
def tunnelled(machine: dict[str, Any]) -> dict[str, Any]:
    """Every tunnel, to this kernel's own end of it."""
    return scenario(machine, "tunnelled")


@pytest.fixture
def queues(machine: dict[str, Any]) -> dict[str, Any]:
    """`ethtool -L` of the balanced veth, again and again."""
    return scenario(machine, "queues")


@pytest.fixture
def staggered(machine: dict[str, Any]) -> dict[str, Any]:
    """A bond with `attach-delay`."""
    return scenario(machine, "staggered")


def boot(image: Path, shared: Path) -> dict[str, Any]:
    """Boot the image with this machine's file system, read-only, and run inside.py in it; `shared` alone can be written."""
    result, log = shared / "result.json", shared / "console.log"
    program = f"{sys.executable} {Path(__file__).with_name('inside.py')}"
    wanted = "" if os.environ.get("FAIRLEAD_KERNELS") == "all" else " objects tagged bonded"
    inside = f"env PYTHONPATH={ROOT / 'src'}:{ROOT} {program} {HOST / 'modprobe'} {result}{wanted}"
    command = ["vng", "--verbose", "--disable-kvm", "--disable-microvm", "--cpus", "2", "--memory", "1G", "--rwdir", str(shared)]
    faulthandler.cancel_dump_traceback_later()  # a boot may take longer than any test, and has a deadline of its own
    path = os.pathsep.join([str(Path(sys.executable).parent), str(HOST), os.environ["PATH"]])
    with log.open("wb") as console:
        subprocess.run(
            [*command, "--run", str(image), "--exec", inside],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PATH": path},
            cwd=ROOT,
            timeout=BOOT,
            check=False,
        )
    assert result.exists(), "the machine left no result; the end of its console:\n" + log.read_text(errors="replace")[-3000:]
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def test_the_right_kernel_ran(machine: dict[str, Any]) -> None:
    """The result comes from the other kernel, not from this machine's."""
    assert machine["kernel"].startswith(machine["series"] + ".")


def test_the_planner_filled_the_tables(found: dict[str, Any]) -> None:
    """The operations that were applied add two destinations and point the service at their slots."""
    said = "\n".join(found["operations"])

    assert said.count("add destination") == 2
    assert "point 192.0.2.10:80/tcp" in said


def test_a_packet_is_forwarded(found: dict[str, Any]) -> None:
    """A SYN to the VIP leaves for a server: MACs changed, TTL 1, all else as it was; the ACK follows the same way."""
    action, out = found["runs"]["syn"]
    frame = bytes.fromhex(out)

    assert action == XDP_TX
    assert frame[:6].hex() in {"02000000010b", "02000000010c"}
    assert frame[6:12].hex() == found["mac"]
    assert frame[22] == 1
    assert frame[26:34].hex() == "c6120102c000020a"
    assert found["runs"]["ack"][0] == XDP_TX
    assert bytes.fromhex(found["runs"]["ack"][1])[:6] == frame[:6]


def test_the_twin_foretells_it(found: dict[str, Any]) -> None:
    """This kernel's verifier takes the twin too; what it says of each packet beforehand is what happens, and does not count."""
    assert found["foretold"] == found["runs"]
    assert sum(found["verdicts"].values()) == len(found["runs"])


def test_the_kernel_keeps_its_own(found: dict[str, Any]) -> None:
    """ARP and packets for other addresses pass untouched."""
    assert found["runs"]["arp"][0] == XDP_PASS
    assert found["runs"]["not for a VIP"][0] == XDP_PASS


def test_the_tail_call_works(found: dict[str, Any]) -> None:
    """A ping of the VIP is answered by the program behind the tail call."""
    action, out = found["runs"]["ping"]

    assert action == XDP_TX
    assert bytes.fromhex(out)[34] == 0  # echo reply


def test_an_unknown_port_is_dropped_by_name(found: dict[str, Any]) -> None:
    """A port of the VIP that no service has ends in its own verdict, which counted."""
    assert found["runs"]["unknown port"][0] == XDP_DROP
    assert found["verdicts"].get("-2") == 1


def test_blocked_and_counted_sources(found: dict[str, Any]) -> None:
    """Programs that ask for the source drop what comes from a blocked prefix for a VIP, and count; others never heard of it."""
    told = found["sources"]

    assert told["actions"]["asked"] == {"syn": XDP_DROP, "ping": XDP_DROP, "not for a VIP": XDP_PASS}
    assert told["actions"]["not asked"] == {"syn": XDP_TX, "ping": XDP_TX, "not for a VIP": XDP_PASS}
    assert told["dropped"] == {"198.18.0.0/15": 2, "2001:db8::/32": 0}
    assert told["counted"] == [["198.18.0.0/20", 2]]


def test_attach_replace_adopt_detach(found: dict[str, Any]) -> None:
    """The program attaches natively to veth, is replaced in place, tables are adopted, and detach leaves nothing."""
    assert found["attached"] == ["native", False]
    assert [entry[1:] for entry in found["attached after replace"]] == [["v0", "native"]]
    assert found["adopted"] is True
    assert found["detached"]
    assert found["left"] == []
    assert found["device after"] == found["device before"]


def whole(answers: list[dict[str, Any]]) -> set[str]:
    """The servers that answered; each must have got all that it was sent, and a broken connection has no answer."""
    assert all(answer.get("whole") for answer in answers), answers
    return {answer["server"] for answer in answers}


def test_transfers_from_tag_to_tag(tagged: dict[str, Any]) -> None:
    """Uploads that arrive with one VLAN id and leave with another come whole to the servers, both of which get some."""
    assert whole(tagged["answers"]) == {"b1", "b2"}
    assert len(tagged["answers"]) == 16


def test_the_program_forwards_what_is_tagged(tagged: dict[str, Any]) -> None:
    """It was this program: natively attached, it forwarded many packets and knew no bad ones."""
    verdicts = tagged["status"]["verdicts"]

    assert [i["mode"] for i in tagged["status"]["interfaces"]] == ["native"]
    assert verdicts["forwarded"]["packets"] > 100
    assert not {"no_next_hop", "malformed", "stale_slot", "no_redirect", "tail_call"} & {
        v for v, n in verdicts.items() if n["packets"]
    }


def test_probes_by_clsact_where_there_is_no_tcx(machine: dict[str, Any], tagged: dict[str, Any]) -> None:
    """The checks called both servers up, so the probe program ran: behind clsact on 6.1, by tcx without a qdisc on 6.12."""
    by_clsact = machine["series"] == "6.1"

    assert ("clsact" in tagged["qdiscs"]["eth0"]) is by_clsact
    assert ("probe" in tagged["filters"]["eth0"]) is by_clsact


def test_a_bond_stands_for_its_members(bonded: dict[str, Any]) -> None:
    """The bond was named; both members have the program."""
    before = bonded["before"]

    assert {i["name"] for i in before["status"]["interfaces"]} == {"m0", "m1"}
    assert all("name balancer" in link for link in before["links"].values())


def test_a_member_leaves_in_mid_transfer(bonded: dict[str, Any]) -> None:
    """The active member was taken out of the bond while sixteen uploads ran: none broke, none changed its server."""
    assert bonded["still"] == len(bonded["answers"]) == 16
    assert whole(bonded["answers"]) == {"b1", "b2"}
    assert [i["name"] for i in bonded["status"]["interfaces"]] == ["m1"]
    assert "name balancer" not in bonded["links"]["m0"]


def test_a_member_comes_back(bonded: dict[str, Any]) -> None:
    """Back in the bond it has the program again, and transfers go on."""
    assert whole(bonded["afterwards"])
    assert {i["name"] for i in bonded["status afterwards"]["interfaces"]} == {"m0", "m1"}


@pytest.mark.parametrize("way", WAYS, ids=[name_of(*way) for way in WAYS])
def test_a_tunnel_ends_in_the_kernel(tunnelled: dict[str, Any], way: tuple[str, int, int]) -> None:
    """The kernel's own receiver takes our outer headers off: the check through the tunnel passes, an upload comes whole."""
    assert tunnelled["states"][name_of(*way)] == "up"
    assert whole(tunnelled["uploads"][name_of(*way)]) == {"b1"}


def one_way(tunnelled: dict[str, Any]) -> list[dict[str, Any]]:
    """Every upload through every tunnel."""
    return [answer for answers in tunnelled["uploads"].values() for answer in answers]


def test_every_receiver_received(tunnelled: dict[str, Any]) -> None:
    """It was the tunnel devices that the packets came by, after the client had been told what fits a tunnel."""
    verdicts = tunnelled["status"]["verdicts"]

    assert all(count > 100 for count in tunnelled["received"].values()), tunnelled["received"]
    assert verdicts["encapsulated"]["packets"] > sum(each["length"] for each in one_way(tunnelled)) / 1500
    assert verdicts["too_big"]["packets"] >= len(WAYS)


def test_the_number_of_queues_changes(queues: dict[str, Any]) -> None:
    """`ethtool -L` under traffic: the program stays on, no upload breaks. Fewer queues than the peer sends by, veth refuses."""
    changes = queues["changes"]

    assert [change["code"] == 0 for change in changes] == [True, True, False, True], changes
    assert all(change["attached"] for change in changes)
    assert whole(queues["answers"]) == {"b1"}
    assert [i["mode"] for i in queues["status"]["interfaces"]] == ["native"]


@pytest.mark.parametrize("when", ["first", "again"])
def test_members_are_attached_one_after_the_other(staggered: dict[str, Any], when: str) -> None:
    """Between two members of a bond passes the `attach-delay`, at the start and in `fairlead reattach`."""
    (one, began), (other, ended) = staggered[when]

    assert {one, other} == {"m0", "m1"}
    assert DELAY <= ended - began < DELAY + 10
    assert whole(staggered["answers"])


@pytest.mark.parametrize("name", ["tagged", "bonded", "tunnelled", "queues", "staggered"])
def test_detach_leaves_nothing(machine: dict[str, Any], name: str) -> None:
    """No program, no qdisc, no pin."""
    assert scenario(machine, name)["left"] == []
