"""Pins, generations and links: what is attached, what a crash leaves behind, what detach takes away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead._native import bpf
from fairlead.adapters.kernel import Kernel, clock, detach_all, egress, generation
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import KernelError, Refused, VerifierError
from fairlead.model import Link
from tests.bpf.pinned import (
    KEYS,
    MARK,
    SMALL,
    generations,
    killed_before,
    link_of,
    opened,
    pins,
    program_of,
    require_whole,
    sh,
    veth,
)

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]


@pytest.fixture
def eth0() -> Iterator[Link]:
    with veth("flp0") as link:
        yield link


@pytest.fixture
def eth1() -> Iterator[Link]:
    with veth("flp1") as link:
        yield link


def tcx(link: Link) -> str:
    return sh(f"bpftool net show dev {link.name}")


def test_attach_is_native_where_it_can_be(bpffs: str, eth0: Link) -> None:
    """A veth gets the program in its driver, `lo`, whose driver cannot, in generic mode, as who asks does; all say so."""
    kernel = opened(bpffs)

    assert kernel.attach(eth0) == ("native", False)
    assert kernel.attach(link_of("lo")) == ("generic", False)
    assert kernel.attached() == [(1, "lo", "generic"), (eth0.ifindex, eth0.name, "native")]
    kernel.detach(eth0.ifindex)
    assert kernel.attach(eth0, generic=True) == ("generic", False)
    kernel.close()
    detach_all(bpffs)
    assert bpf.xdp_query(1).program == bpf.xdp_query(eth0.ifindex).program == 0


def test_attach_again_keeps_the_link(bpffs: str, eth0: Link) -> None:
    """The second attach finds the pinned link and says that it was there."""
    kernel = opened(bpffs)
    kernel.attach(eth0)
    link = program_of(f"{bpffs}/links/xdp-{eth0.ifindex}")

    assert kernel.attach(eth0) == ("native", True)
    assert program_of(f"{bpffs}/links/xdp-{eth0.ifindex}") == link
    kernel.close()


def test_links_outlive_the_process(bpffs: str, eth0: Link) -> None:
    """When the process has gone by SIGKILL the program still runs, and its tail calls still lead somewhere."""

    def serve() -> None:
        opened(bpffs).attach(eth0)
        os.kill(os.getpid(), 9)

    assert killed_before(1000, serve)
    require_whole(bpffs, eth0)


def test_replace_swaps_under_the_link(bpffs: str, eth0: Link, eth1: Link) -> None:
    """Replacing makes every link run the next generation, leaves only that, and the prog array is never the old one."""
    kernel = opened(bpffs)
    for link in (eth0, eth1):
        kernel.attach(link)
    before = program_of(f"{bpffs}/links/xdp-{eth0.ifindex}")
    assert generations(bpffs) == ["gen-1"]

    kernel.replace_programs()

    assert generations(bpffs) == ["gen-2"]
    assert program_of(f"{bpffs}/links/xdp-{eth0.ifindex}") != before
    assert program_of(f"{bpffs}/links/xdp-{eth0.ifindex}") == program_of(f"{bpffs}/links/xdp-{eth1.ifindex}")
    assert program_of(f"{bpffs}/links/probe-{eth0.ifindex}") == bpf.program_id(kernel.program("probe"))
    require_whole(bpffs, eth0, eth1)
    kernel.close()


def test_replace_does_not_touch_what_runs(bpffs: str, eth0: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation that the verifier refuses changes nothing, and its last words are told."""
    kernel = opened(bpffs)
    kernel.attach(eth0)
    before = pins(bpffs)
    good = generation.read_object("balancer")

    monkeypatch.setattr(generation, "read_object", lambda name: without_end(good) if name == "balancer" else b"")
    with pytest.raises(VerifierError) as refused:
        kernel.replace_programs()

    assert "jump out of range" in str(refused.value)
    assert pins(bpffs) == before
    require_whole(bpffs, eth0)
    kernel.close()


def without_end(good: bytes) -> bytes:
    """The object with the `exit` that every program ends in turned into a jump beyond the end."""
    last = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
    assert last in good
    return good.replace(last, bytes([0x05, 0, 0xFF, 0x7F, 0, 0, 0, 0]))


def test_severed_links_are_made_anew(bpffs: str, eth0: Link) -> None:
    """The link of a vanished interface is unpinned at the next start; the interface that took its name is attached afresh."""
    kernel = opened(bpffs)
    kernel.attach(eth0)
    sh(f"ip link del {eth0.name}")
    assert kernel.attached() == []
    kernel.close()

    with veth(eth0.name) as again:
        kernel = opened(bpffs)
        assert pins(f"{bpffs}/links") == []
        assert kernel.attach(again) == ("native", False)
        kernel.close()


def test_severed_links_do_not_stop_a_replacement(bpffs: str, eth0: Link, eth1: Link) -> None:
    """An interface that vanishes while we run is forgotten by the next replacement; the others are updated."""
    kernel = opened(bpffs)
    for link in (eth0, eth1):
        kernel.attach(link)
    sh(f"ip link del {eth0.name}")

    kernel.replace_programs()

    assert [name for _, name, _ in kernel.attached()] == [eth1.name]
    require_whole(bpffs, eth1)
    kernel.close()


def test_foreign_xdp_is_named_and_left(bpffs: str, eth0: Link) -> None:
    """An XDP program of somebody else is named, the attach refused, and neither it nor tc is changed."""
    foreign = bpf.jiffies_program()
    link = bpf.link_create(foreign, eth0.ifindex, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
    kernel = opened(bpffs)

    with pytest.raises(Refused, match=r"flp0 already has the XDP program `fairlead_clock` \(id \d+, native mode\)"):
        kernel.attach(eth0)

    assert bpf.xdp_query(eth0.ifindex).program == bpf.program_id(foreign)
    assert pins(f"{bpffs}/links") == []
    assert "probe" not in tcx(eth0)
    kernel.close()
    os.close(link)
    os.close(foreign)


def test_foreign_tc_programs_stay(bpffs: str, eth0: Link) -> None:
    """Another's program at the same tc egress runs on beside ours, and is there after detach."""
    other = bpffs + "-other"
    first, second = opened(other), opened(bpffs)
    second.tcx = first.tcx = True
    egress.attach(Places(other), eth0, first.program("probe"), {})

    second.attach(eth0)
    second.close()
    detach_all(bpffs)

    assert program_of(f"{other}/links/probe-{eth0.ifindex}") == bpf.program_id(first.program("probe"))
    first.close()
    detach_all(other)


def test_clsact_where_tcx_is_missing(bpffs: str, eth0: Link) -> None:
    """The older kernels' way: a filter in a clsact qdisc of ours, replaced in place, and both gone after detach."""
    before = sh(f"tc qdisc show dev {eth0.name}")
    kernel = opened(bpffs)
    kernel.tcx = False
    kernel.attach(eth0)
    kernel.replace_programs()

    running = bpf.filter_query(eth0.ifindex, egress.HANDLE, egress.PRIORITY)
    assert running == bpf.program_id(kernel.program("probe"))
    assert kernel.attach(eth0) == ("native", True)
    kernel.close()
    kernel = opened(bpffs)
    assert generations(bpffs) == ["gen-2"]
    kernel.close()
    detach_all(bpffs)
    assert sh(f"tc qdisc show dev {eth0.name}") == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_clsact_of_others_stays(bpffs: str, eth0: Link, when: str) -> None:
    """A clsact qdisc that holds another's filter stays with it, whoever made the qdisc."""
    theirs = f"tc filter add dev {eth0.name} egress prio 10 protocol all u32 match u32 0 0 flowid 1:1"
    if when == "before":
        sh(f"tc qdisc add dev {eth0.name} clsact && {theirs}")
    kernel = opened(bpffs)
    kernel.tcx = False
    kernel.attach(eth0)
    if when == "after":
        sh(theirs)
    assert egress.filters_on(eth0.ifindex) > 1
    kernel.close()
    detach_all(bpffs)

    left = sh(f"tc filter show dev {eth0.name} egress")
    assert "u32" in left
    assert "bpf" not in left


def test_our_place_in_clsact_may_be_taken(bpffs: str, eth0: Link) -> None:
    """A filter of somebody else at our priority and handle is named and refused, not replaced."""
    other = opened(bpffs + "-other")
    bpf.clsact_create(eth0.ifindex)
    bpf.filter_attach(eth0.ifindex, other.program("probe"), egress.HANDLE, egress.PRIORITY, replace=False)
    kernel = opened(bpffs)
    kernel.tcx = False

    with pytest.raises(Refused, match="already has the tc egress program `probe`"):
        kernel.attach(eth0)

    assert bpf.filter_query(eth0.ifindex, egress.HANDLE, egress.PRIORITY) == bpf.program_id(other.program("probe"))
    other.close()
    kernel.close()


def test_detach_leaves_nothing(bpffs: str, eth0: Link, eth1: Link) -> None:
    """Detach takes everything away without a daemon or a config, says what it did, and finds nothing the second time."""
    kernel = opened(bpffs)
    for link in (eth0, eth1):
        kernel.attach(link)
    kernel.close()

    done = detach_all(bpffs)

    assert f"detached XDP from {eth0.name}" in done
    assert f"detached the probe program from {eth1.name}" in done
    assert not Path(bpffs).exists()
    assert [bpf.xdp_query(link.ifindex).program for link in (eth0, eth1)] == [0, 0]
    assert "probe" not in tcx(eth0)
    assert detach_all(bpffs) == []


def test_detach_leaves_what_is_not_ours(bpffs: str) -> None:
    """A pin that Fairlead did not make stays, and so does the directory around it."""
    opened(bpffs).close()
    Path(f"{bpffs}/theirs").mkdir()

    assert detach_all(bpffs) == [f"left {bpffs}: it holds theirs, which Fairlead did not put there"]
    assert pins(bpffs) == ["theirs"]


def test_detach_one_interface(bpffs: str, eth0: Link, eth1: Link) -> None:
    """An interface that left the config is freed while the other forwards on."""
    kernel = opened(bpffs)
    for link in (eth0, eth1):
        kernel.attach(link)

    kernel.detach(eth0.ifindex)

    assert bpf.xdp_query(eth0.ifindex).program == 0
    assert kernel.attached() == [(eth1.ifindex, eth1.name, "native")]
    kernel.close()


@pytest.mark.slow
@pytest.mark.parametrize(("with_tcx", "first"), [(True, 0), (False, 40)], ids=["tcx", "clsact"])
def test_killed_at_each_step_of_creation(bpffs: str, eth0: Link, with_tcx: bool, first: int) -> None:
    """Killed before any step of the first start, the next start is clean: one whole table set, one generation, one link each."""
    # the way to tc egress is among the last steps: those before are the same for both

    def start() -> Kernel:
        kernel = opened(bpffs)
        kernel.tcx = with_tcx
        kernel.attach(eth0)
        return kernel

    step = first
    while killed_before(step, start):
        kernel = start()
        assert len(generations(bpffs)) == 1
        assert len([name for name in pins(bpffs) if name.startswith("tables-") and "/" not in name]) == 1
        require_whole(bpffs, eth0)
        kernel.close()
        assert detach_all(bpffs)
        step += 1

    assert step > max(first + 3, 40)


@pytest.mark.slow
def test_killed_at_each_step_of_a_replacement(bpffs: str, eth0: Link, eth1: Link) -> None:
    """Killed before any step of a replacement, each link runs one whole generation, and the next start ends with one for all."""
    first = opened(bpffs)
    for link in (eth0, eth1):
        first.attach(link)
    first.close()

    step = 2
    while killed_before(step, lambda: opened(bpffs).replace_programs()):
        require_whole(bpffs, eth0, eth1)
        kernel = opened(bpffs)
        assert kernel.adopted
        kernel.replace_programs()
        assert len(generations(bpffs)) == 1
        require_whole(bpffs, eth0, eth1)
        kernel.close()
        step += 1

    assert step > 15


@pytest.mark.slow
@pytest.mark.parametrize(("with_tcx", "last"), [(True, 100), (False, 9)], ids=["tcx", "clsact"])
def test_killed_at_each_step_of_detach(bpffs: str, eth0: Link, with_tcx: bool, last: int) -> None:
    """Killed before any step of detach, detach ends the work, and a start in between finds nothing that it cannot use."""
    # links come first, then the pins: what is left after that is the same for both
    before = sh(f"tc qdisc show dev {eth0.name}")
    step = 0
    while True:
        kernel = opened(bpffs)
        kernel.tcx = with_tcx
        kernel.attach(eth0)
        kernel.close()
        if step > last or not killed_before(step, lambda: detach_all(bpffs)):
            break
        opened(bpffs).close()
        detach_all(bpffs)
        assert not Path(bpffs).exists()
        assert bpf.xdp_query(eth0.ifindex).program == 0
        assert sh(f"tc qdisc show dev {eth0.name}") == before
        step += 1

    assert step > min(last, 25)


def test_no_bpffs_is_refused(tmp_path: Path) -> None:
    """A directory that is in no BPF file system is refused with the command that mounts one; nothing is made."""
    with pytest.raises(Refused, match=f"is not in a BPF file system: run `mount -t bpf bpf {tmp_path}`"):
        opened(f"{tmp_path}/fairlead")
    with pytest.raises(Refused, match=r"there is no .*/none: run `mkdir -p"):
        opened(f"{tmp_path}/none/fairlead")
    assert list(tmp_path.iterdir()) == []


def test_private_mount_namespace_is_refused(tmp_path: Path) -> None:
    """A BPF file system that ends with the process's own mount namespace is refused with the command to mount it outside."""
    program = (
        "from tests.bpf.pinned import opened\nfrom fairlead.errors import Refused\n"
        f"try:\n    opened('{tmp_path}/fairlead')\nexcept Refused as refused:\n    print(refused)\n"
    )
    command = ["unshare", "--mount", "sh", "-c", f'mount -t bpf private {tmp_path} && "$0" -c "$1"', sys.executable, program]
    paths = f"{ROOT}:{ROOT}/src"
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})

    assert f"the BPF file system at {tmp_path} exists only in the mount namespace of this process" in run.stdout
    assert f"nsenter --mount=/proc/1/ns/mnt mount -t bpf bpf {tmp_path}" in run.stdout


def test_second_process_is_refused(bpffs: str) -> None:
    """While one process holds the directory a second is refused; the lock ends with the first, however that ends."""
    kernel = opened(bpffs)
    with pytest.raises(Refused, match="another fairlead is using"):
        opened(bpffs)
    kernel.close()
    opened(bpffs).close()


def test_hertz_is_the_kernels() -> None:
    """The tick that we compute shifts from is the one that jiffies advance by."""
    jiffies = clock.Jiffies()
    started, first = os.times().elapsed, jiffies.now()
    while os.times().elapsed - started < 0.2:
        pass
    passed, elapsed = jiffies.now() - first, os.times().elapsed - started
    jiffies.close()

    assert passed == pytest.approx(clock.hertz() * elapsed, rel=0.15)


@pytest.mark.parametrize(("now", "shift"), [(100, 8), (250, 9), (300, 10), (1000, 11)])
def test_ticks_keep_their_length(now: int, shift: int) -> None:
    """Ticks of 512 jiffies at 250 a second last no less, and less than twice as long, on a machine with another tick."""
    assert clock.restated(9, 250, now) == shift
    assert 512 / 250 <= (1 << shift) / now < 2 * 512 / 250


def test_errors_carry_libbpfs_words() -> None:
    """What libbpf says about a failure is in the error, not on stderr."""
    with pytest.raises(KernelError) as refused:
        bpf.Object("nonsense", b"\x7fELF" + bytes(60))
    assert "nonsense" in str(refused.value)

    with pytest.raises(KernelError) as failed:
        bpf.map_create(bpf.MAP_ARRAY, "none", 4, 8, 0)
    assert failed.value.errno == errno.EINVAL


def test_test_run_gives_action_and_frame(bpffs: str) -> None:
    """A frame that is too short to be one for us passes unchanged, and is counted."""
    kernel = Kernel.open(bpffs, SMALL, KEYS, MARK)

    action, frame = kernel.test_run("balancer", bytes(64))

    assert (action, frame) == (2, bytes(64))
    assert sum(packets for packets, _ in kernel.verdicts().values()) == 1
    kernel.close()


def test_detach_sees_that_it_is_blind(bpffs: str) -> None:
    """In a mount namespace that hides the pins detach refuses, rather than find nothing to do."""
    opened(bpffs).close()
    program = (
        "from fairlead.adapters.kernel import detach_all\nfrom fairlead.errors import Refused\n"
        f"try:\n    print(detach_all('{bpffs}'))\nexcept Refused as refused:\n    print(refused)\n"
    )
    mount = Path(bpffs).parent
    command = ["unshare", "--mount", "sh", "-c", f'umount {mount} && "$0" -c "$1"', sys.executable, program]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{ROOT}/src"})

    assert f"hides the BPF file system at {mount}: run `nsenter --mount=/proc/1/ns/mnt fairlead detach`" in run.stdout
    assert pins(bpffs)


def test_close_twice(bpffs: str) -> None:
    """The second close does nothing: it does not close descriptors that by then are somebody else's."""
    kernel = opened(bpffs)
    kernel.close()
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]

    kernel.close()

    for fd in others:
        os.close(fd)
