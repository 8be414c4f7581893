"""Adoption: what one process pinned, the next one finds, reads and goes on with - or refuses."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead._native import bpf, layout, layout_hash, memory
from fairlead.adapters.kernel import Kernel, detach_all, kernel, tables
from fairlead.errors import KernelError, Refused
from fairlead.model import Link, Op, Publish, Store
from tests.bpf.pinned import KEYS, SMALL, generations, killed_before, opened, pins, require_whole, sh, veth

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]
ROW = layout().structs["destination"]
CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 12, 38, 39


def row_of(number: int) -> Op:
    """An operation that fills destination row `number` and publishes it."""
    payload = ROW.pack(vip=bytes([number] * 16), l4=number, service=7)
    at = ROW.size * number
    publish = Publish("destinations", at + ROW.offset("live"), 1 << 24 | number)
    return Op(f"add destination {number}", (Store("destinations", at, payload), publish))


def contents(found: Kernel) -> dict[str, bytes]:
    return {name: bytes(found.view(name)) for name in tables.shapes(found.geometry) if name not in {"verdicts", "fragments"}}


@pytest.fixture
def eth0() -> Iterator[Link]:
    with veth("fla0") as link:
        yield link


def test_fresh_tables_are_empty(bpffs: str) -> None:
    """The first start creates every table, empty, in the size asked for, and knows the machine's CPUs."""
    found = opened(bpffs)

    assert not found.adopted
    assert (found.geometry.services, found.geometry.buckets) == (SMALL.services, SMALL.buckets)
    assert found.geometry.cpus == bpf.possible_cpus()
    assert found.bytes_of("counters") == 32 * found.geometry.cpus * SMALL.destinations
    assert not any(contents(found)["destinations"])
    found.close()


def test_adopted_tables_are_the_same(bpffs: str) -> None:
    """The second start finds each byte where the first left it, and the first one's sizes, whatever it asked for itself."""
    first = opened(bpffs)
    for number in (1, 2, 250):
        first.apply(row_of(number))
    left, geometry = contents(first), first.geometry
    first.close()

    second = opened(bpffs, geometry=replace(SMALL, destinations=1024))

    assert second.adopted
    assert second.geometry == geometry
    assert contents(second) == left
    assert ROW.unpack(second.view("destinations")[2 * ROW.size : 3 * ROW.size])["live"] == 1 << 24 | 2
    second.close()


def test_adopted_after_kill(bpffs: str, eth0: Link) -> None:
    """A killed process leaves tables, program and link; the next one reads the memory that the program writes."""

    def serve() -> None:
        running = opened(bpffs)
        running.apply(row_of(5))
        running.attach(eth0)
        os.kill(os.getpid(), 9)

    assert killed_before(1000, serve)
    running = bpf.xdp_query(eth0.ifindex).program
    found = opened(bpffs)

    assert found.adopted
    assert found.attached() == [(eth0.ifindex, eth0.name, "native")]
    assert bpf.program_id(found.program("balancer")) == running
    assert memory.load(found.view("destinations"), 5 * ROW.size + ROW.offset("live")) == 1 << 24 | 5
    found.test_run("balancer", bytes(64))
    assert sum(packets for packets, _ in found.verdicts().values()) >= 1
    found.close()


def test_stores_are_made_in_order(bpffs: str) -> None:
    """An operation's stores are done one after the other, and the hook hears of each when it is done."""
    found = opened(bpffs)
    live = 3 * ROW.size + ROW.offset("live")
    seen = []
    found.after_store = lambda number: seen.append((number, memory.load(found.view("destinations"), live)))

    found.apply(row_of(3))

    assert seen == [(0, 0), (1, 1 << 24 | 3)]
    found.close()


def test_views_cannot_be_written(bpffs: str) -> None:
    """What readers get is read-only: live tables are written by operations alone."""
    found = opened(bpffs)

    with pytest.raises(TypeError):
        found.view("slots")[0] = 1
    found.close()


def test_another_key_is_refused(bpffs: str, eth0: Link) -> None:
    """Tables filled under another key are refused, both fingerprints named, and nothing is touched."""
    first = opened(bpffs)
    first.attach(eth0)
    first.close()
    before = pins(bpffs)

    with pytest.raises(Refused, match=r"filled under key 0000000000abcdef, this configuration's is 0000000000000001"):
        opened(bpffs, keys=replace(KEYS, fingerprint=1))

    assert pins(bpffs) == before
    require_whole(bpffs, eth0)


def test_another_layout_is_refused(bpffs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished tables of a layout that we do not know are refused by name and left alone."""
    opened(bpffs).close()
    before = pins(bpffs)

    monkeypatch.setattr(kernel, "layout_hash", lambda: "0123456789ab")
    with pytest.raises(Refused, match=rf"tables-{layout_hash()} was made by a Fairlead with another table layout"):
        opened(bpffs)

    assert pins(bpffs) == before


@pytest.mark.parametrize("name", [f"tables-{layout_hash()}", "tables-0123456789ab"])
def test_unfinished_tables_are_rubbish(bpffs: str, name: str) -> None:
    """A table directory without a finished `meta`, of our layout or another, is removed and a whole one made."""
    directory = Path(bpffs) / name
    directory.mkdir(parents=True)
    fd = bpf.map_create(bpf.MAP_ARRAY, "meta", 4, 128, 1, flags=bpf.MMAPABLE)
    bpf.pin(fd, f"{directory}/meta")
    os.close(fd)

    found = opened(bpffs)

    assert not found.adopted
    assert [each for each in pins(bpffs) if each.startswith("tables-") and "/" not in each] == [f"tables-{layout_hash()}"]
    found.close()


def test_a_table_of_another_shape_is_refused(bpffs: str) -> None:
    """A pin that is not the table that `meta` states is named, not mapped."""
    opened(bpffs).close()
    path = f"{bpffs}/tables-{layout_hash()}/slots"
    Path(path).unlink()
    fd = bpf.map_create(bpf.MAP_ARRAY, "slots", 4, 64, SMALL.slots // 2, flags=bpf.MMAPABLE)
    bpf.pin(fd, path)
    os.close(fd)

    with pytest.raises(KernelError, match=r"slots: its shape is not the one that meta states"):
        opened(bpffs)


def test_fragments_are_adopted(bpffs: str, eth0: Link) -> None:
    """The fragments table is pinned with the others, every generation uses that one, and what it holds outlives them."""
    pin = f"{bpffs}/tables-{layout_hash()}/fragments"
    first = opened(bpffs)
    first.attach(eth0)
    sh(f"bpftool map update pinned {pin} key hex {'07 ' * 40} value hex {'09 ' * 8}")
    first.close()

    second = opened(bpffs)
    second.replace_programs()

    found = json.loads(sh(f"bpftool -j map lookup pinned {pin} key hex {'07 ' * 40}"))
    assert found["value"] == ["0x09"] * 8
    facts = json.loads(sh(f"bpftool -j map show pinned {pin}"))
    used = json.loads(sh(f"bpftool -j prog show pinned {bpffs}/gen-2/rare"))["map_ids"]
    assert facts["id"] in used
    assert (facts["type"], facts["max_entries"]) == ("lru_hash", 65536)
    assert second.bytes_of("fragments") >= 65536 * 48
    second.close()


def test_fragments_of_another_shape_are_refused(bpffs: str) -> None:
    """A pin of that name that is no such table is named."""
    opened(bpffs).close()
    path = f"{bpffs}/tables-{layout_hash()}/fragments"
    Path(path).unlink()
    fd = bpf.map_create(bpf.MAP_LRU_HASH, "fragments", 36, 8, 65536)
    bpf.pin(fd, path)
    os.close(fd)

    with pytest.raises(KernelError, match=r"fragments: its shape is not the one that meta states"):
        opened(bpffs)


def test_limits_of_answers_are_constants(bpffs: str) -> None:
    """A generation carries how many echo replies, ICMP errors and RSTs a CPU may answer in a window."""
    opened(bpffs).close()
    fd = bpf.open_pin(f"{bpffs}/gen-1/balancer-rodata")
    with mmap.mmap(fd, layout().structs["options"].size, prot=mmap.PROT_READ) as constants:
        found = layout().structs["options"].unpack(constants[:])
    os.close(fd)
    limits = {name: found[f"{name}_limit"] for name in ("echo", "too_big", "reset", "reject")}
    assert limits == {"echo": 500, "too_big": 1000, "reset": 20000, "reject": 1000}


def test_ticks_are_those_asked_for(bpffs: str) -> None:
    """New tables get ticks as long as the geometry says, on whatever machine."""
    found = opened(bpffs, geometry=replace(SMALL, hz=1000, fine_shift=3, coarse_shift=20))
    for shift, asked in ((found.geometry.fine_shift, 8 / 1000), (found.geometry.coarse_shift, (1 << 20) / 1000)):
        assert asked <= (1 << shift) / found.geometry.hz < 2 * asked
    found.close()


def test_rubbish_generations_are_removed(bpffs: str, eth0: Link) -> None:
    """Only generations that a link names are live; the rest is removed at the next start."""
    first = opened(bpffs)
    first.attach(eth0)
    first.close()
    for number in (2, 9):
        Path(f"{bpffs}/gen-{number}").mkdir()

    found = opened(bpffs)

    assert generations(bpffs) == ["gen-1"]
    found.replace_programs()
    assert generations(bpffs) == ["gen-2"]
    found.close()


def test_next_generation_carries_the_new_mark(bpffs: str) -> None:
    """A changed probe mark is in the next generation's constants; the tables stay."""
    found = opened(bpffs)
    found.probe_mark = 0x123

    found.replace_programs()

    fd = bpf.open_pin(f"{bpffs}/gen-2/probe-rodata")
    with mmap.mmap(fd, layout().structs["options"].size, prot=mmap.PROT_READ) as constants:
        assert layout().structs["options"].unpack(constants[:])["probe_mark"] == 0x123 << 20
    os.close(fd)
    found.close()


def test_flows_are_counted_and_swept(bpffs: str) -> None:
    """Counting sees what is in the shared table, sweeping clears what nobody owns and keeps the rest."""
    found = opened(bpffs)
    fine, coarse = found.ticks()
    words = [7 << 12 | coarse << 4 | 2 << 1 | 1 << 32, 8 << 12 | coarse << 4 | 2 << 1 | 1 << 33]
    found.apply(Op("flows", tuple(Publish("flows", 64 * 1000 * n, word) for n, word in enumerate(words))))
    assert (found.flow_counts()[7], found.flow_counts()[8]) == (1, 1)

    assert found.sweep(bytes([0x80])) == 1  # id 7 is owned, id 8 is not

    assert (found.flow_counts()[7], found.flow_counts()[8]) == (1, 0)
    timeouts = int.from_bytes(bytes([0, 5, 5, 5, 5, 0, 0, 0]), "little")
    old = 7 << 12 | (coarse - 6 & 255) << 4 | 2 << 1 | 1 << 34
    found.apply(Op("age", (Publish("settings", 0, timeouts), Publish("flows", 128, old))))
    assert found.sweep(bytes([0x80])) == 1
    assert 0 <= fine < 256
    found.close()


def test_counters_are_sums(bpffs: str) -> None:
    """Counters come back per destination id, summed over the CPUs."""
    found = opened(bpffs)
    second = 32 * SMALL.destinations * (found.geometry.cpus - 1)
    cell = struct.pack("=4Q", 1, 64, 1, 0)
    found.apply(Op("count", (Store("counters", 32 * 9, cell), Store("counters", second + 32 * 10, cell))))

    assert found.counters([9, 10, 11]) == [(1, 64, 1), (1, 64, 1), (0, 0, 0)]
    found.close()


@pytest.fixture
def open_bpffs() -> Iterator[str]:
    """A BPF file system below a directory that every user may enter."""
    directory = tempfile.mkdtemp(prefix="fairlead-caps-")
    Path(directory).chmod(0o755)
    sh(f"mount -t bpf fairlead-test {directory}")
    yield f"{directory}/fairlead"
    sh(f"umount -l {directory}")
    shutil.rmtree(directory)


def become_nobody() -> None:
    """From root to uid 65534 with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (capset(2), version 3: two words of each set)."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = 1 << CAP_BPF | 1 << CAP_NET_ADMIN | 1 << CAP_PERFMON
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    os.setgroups([])
    assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    header, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def test_capabilities_are_enough(open_bpffs: str, eth0: Link) -> None:
    """An unprivileged user with three capabilities creates, attaches, is killed, adopts, replaces and detaches."""

    def first() -> None:
        become_nobody()
        opened(open_bpffs).attach(eth0)
        os.kill(os.getpid(), 9)

    def second() -> None:
        become_nobody()
        found = opened(open_bpffs)
        assert found.adopted
        found.replace_programs()
        found.test_run("balancer", bytes(64))
        found.close()

    def last() -> None:
        become_nobody()
        assert detach_all(open_bpffs)

    assert killed_before(1000, first)
    require_whole(open_bpffs, eth0)
    assert not killed_before(1000, second)
    require_whole(open_bpffs, eth0)
    assert not killed_before(1000, last)
    assert bpf.xdp_query(eth0.ifindex).program == 0


def test_adopted_inside_ip_netns_exec(bpffs: str) -> None:
    """A BPF file system that was mounted outside is good inside `ip netns exec`: what is made there is adopted there again."""
    name = f"fairlead-adopt-{os.getpid()}"
    program = (
        "import sys\nfrom tests.bpf.pinned import opened, link_of\n"
        f"kernel = opened('{bpffs}')\nprint(kernel.adopted, kernel.attach(link_of('lo')))\n"
    )
    run = ["ip", "netns", "exec", name, sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/src"}
    sh(f"ip netns add {name}")
    try:
        said = [subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout for _ in range(2)]
    finally:
        sh(f"ip netns del {name}")

    assert said == ["False ('generic', False)\n", "True ('generic', True)\n"]
