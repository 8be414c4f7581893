"""What Fairlead is for, seen from the clients: requests to a VIP reach real web servers, whatever happens to one of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab.conftest import new_name
from tests.lab.kit import CLIENT, FAIRLEAD, SEGMENT, VIPS, Lab, eventually

pytestmark = pytest.mark.root


@pytest.mark.parametrize("version", [4, 6])
def test_curl(either: Lab, version: int) -> None:
    """A request to a VIP is answered by every backend in turn, and the backend sees the client's own address."""
    names = set()
    for _ in range(60):
        name, says = either.get(VIPS[version]).split(" ", 1)
        assert says == f"saw {CLIENT[version]} ask for {VIPS[version]}\n"
        names.add(name)
        if len(names) == 3:
            break
    assert names == {"backend1", "backend2", "backend3"}


def test_mode(either: Lab) -> None:
    """Status names the mode that the interface took: native where the driver can, generic where it refuses."""
    assert [(i["name"], i["mode"]) for i in either.status()["interfaces"]] == [("eth0", either.xdp)]


@pytest.mark.parametrize("version", [4, 6])
def test_one_flow_one_backend(lab: Lab, version: int) -> None:
    """All requests over one connection are answered by one backend."""
    vip = VIPS[version]
    url = f"http://[{vip}]/" if version == 6 else f"http://{vip}/"
    answers = lab.run("client1", "curl", "-sS", "-g", "-f", *[url] * 20).splitlines()
    assert len(answers) == 20
    assert len(set(answers)) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_ping(lab: Lab, version: int) -> None:
    """A VIP answers ping, though no machine owns it on the segment."""
    assert "3 received" in lab.run("client1", "ping", "-c", "3", "-i", "0.2", "-W", "2", VIPS[version])


@pytest.mark.parametrize("version", [4, 6])
def test_hung_server(lab: Lab, version: int) -> None:
    """A server that takes connections but answers nothing is shown down, and up again once it answers."""
    address = f"{SEGMENT[version]}22"
    lab.cli("kill", "--signal", "STOP", "backend2")
    try:
        eventually(lambda: lab.backend(address)["state"] == "down", 8)
        assert lab.service(VIPS[version])["available"] == 2
    finally:
        lab.cli("kill", "--signal", "CONT", "backend2")
    eventually(lambda: lab.backend(address)["state"] == "up", 8)


def test_all_backends_down(lab: Lab) -> None:
    """With no backend left the VIP is withdrawn, with the reason in status; with one back it is announced again."""
    for number in (1, 2, 3):
        lab.cli("kill", f"backend{number}")
    eventually(lambda: not lab.route(VIPS[4]) and not lab.route(VIPS[6]), 8)
    vip = next(v for v in lab.status()["vips"] if v["address"] == VIPS[4])
    assert (vip["state"], vip["announced"]) == ("down", False)
    assert vip["reason"]
    lab.cli("start", "backend2")
    eventually(lambda: lab.route(VIPS[4]) and lab.route(VIPS[6]), 8)
    eventually(lambda: lab.get(VIPS[4]).startswith("backend2"))


@pytest.mark.slow
@pytest.mark.parametrize("xdp", ["native", "generic"])
def test_demo(xdp: str) -> None:
    """`make demo`: thousands of requests without an error, a backend dies and comes back, and all of it is as claimed."""
    name = new_name()
    argv = [sys.executable, "-m", "fairlead.lab.demo", "--name", name, "--xdp", xdp]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "NO!" not in done.stdout
        assert "6000 requests, 0 errors" in done.stdout
        assert f"eth0 {xdp}" in done.stdout
        assert f"lab exec --name {name} balancer1 fairlead status" in done.stdout
        listed = subprocess.run([FAIRLEAD, "lab", "list"], capture_output=True, text=True, check=True).stdout
        assert name in listed
    finally:
        gone = subprocess.run([*argv, "--down"], capture_output=True, text=True, timeout=120, check=False)
    assert gone.returncode == 0
    assert name not in subprocess.run([FAIRLEAD, "lab", "list"], capture_output=True, text=True, check=True).stdout
