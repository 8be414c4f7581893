"""The compiled objects on other kernels: a Debian kernel boots in QEMU, loads the data plane and runs packets through it.

Skipped only where QEMU or the kernel cannot be had (no apt, no network); once they are there, whatever goes wrong is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HOST = ROOT / ".tools" / "kernels" / "host" / "bin"
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
BOOT = 240  # seconds; a boot takes ten on an idle machine without KVM

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


@pytest.fixture(scope="module", params=["6.1"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What inside.py found on the newest kernel of this series."""
    if why := fetched():
        pytest.skip(f"no QEMU or no kernel: {why}")
    series = {version: path for version, path in images().items() if version.startswith(request.param + ".")}
    if not series:
        pytest.skip(f"this Debian has no {request.param} kernel")
    return boot(list(series.values())[-1], tmp_path_factory.mktemp("kernel"))


def boot(image: Path, shared: Path) -> dict[str, Any]:
    """Boot the image with this machine's file system, read-only, and run inside.py in it; `shared` alone can be written."""
    result, log = shared / "result.json", shared / "console.log"
    inside = f"{sys.executable} {Path(__file__).with_name('inside.py')} {HOST / 'modprobe'} {result}"
    command = ["vng", "--verbose", "--disable-kvm", "--disable-microvm", "--cpus", "2", "--memory", "1G", "--rwdir", str(shared)]
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
    assert "error" not in found, found["error"]
    return found


def test_the_right_kernel_ran(found: dict[str, Any]) -> None:
    """The result comes from the other kernel, not from this machine's."""
    assert found["kernel"].startswith("6.1.")


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


def test_attach_replace_adopt_detach(found: dict[str, Any]) -> None:
    """The program attaches natively to veth, is replaced in place, tables are adopted, and detach leaves nothing."""
    assert found["attached"] == ["native", False]
    assert [entry[1:] for entry in found["attached after replace"]] == [["v0", "native"]]
    assert found["adopted"] is True
    assert found["detached"]
    assert found["left"] == []
    assert found["device after"] == found["device before"]
