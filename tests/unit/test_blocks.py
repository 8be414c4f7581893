"""The file of blocks, and what is shown of them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from fairlead import render
from fairlead.adapters.overrides import BLOCKS, Blocks
from fairlead.config import parse
from fairlead.config.expand import expand
from fairlead.errors import ConfigError, KernelError
from fairlead.model import Block, BlockStatus, SourcesStatus, SourceStatus

NOW = 1_000_000.0
SAID = (Block(ip_network("198.51.100.0/24"), "alice (root)", NOW, NOW + 3600, "SYN flood"), Block(ip_network("::/0"), "bob", NOW))


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Nothing without a file; everything with it, in a directory that was not there."""
    store = Blocks(str(tmp_path / "state"))
    assert store.load() == ()
    store.save(SAID)
    assert store.load() == SAID
    store.save(())
    assert store.load() == ()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [BLOCKS]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "blocks": []}', '{"format": 1, "blocks": [{"prefix": "x"}]}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """With what to do about it."""
    (tmp_path / BLOCKS).write_text(text)
    with pytest.raises(KernelError, match=BLOCKS):
        Blocks(str(tmp_path)).load()


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    """The error names it, and what was there is there."""
    store = Blocks(str(tmp_path))
    store.save(SAID)
    (tmp_path / "blocks.new").mkdir()
    with pytest.raises(KernelError, match=r"blocks\.json"):
        store.save(())
    assert store.load() == SAID


def test_the_list() -> None:
    """A line for each, and below what is not in effect yet."""
    found = [
        BlockStatus(
            "198.51.100.0/24", "alice (root)", NOW - 720, NOW + 2820, "SYN flood, ticket 4711", 3_410_000, 205_000_000, True
        ),
        BlockStatus("2001:db8:bad::/48", "the configuration", NOW - 90_000, 0.0, "", 0, 0, False),
    ]
    assert render.blocks(found, NOW) == (
        "PREFIX             BY                 FOR      STILL   PACKETS  BYTES  WHY\n"
        "198.51.100.0/24    alice (root)       12 min   47 min    3.41M   205M  SYN flood, ticket 4711\n"
        "2001:db8:bad::/48  the configuration  1 d 1 h  -             0      0\n"
        "# not in effect yet: 2001:db8:bad::/48: `fairlead status` says why\n"
    )
    assert render.blocks([], NOW) == "nothing is blocked\n"


def test_the_sources() -> None:
    """By family, those that there are; or why there are none."""
    one = (SourceStatus("198.51.96.0/20", 1234),)
    assert render.sources(SourcesStatus(True, one, ())) == "IPv4, by /20\nPREFIX          PACKETS\n198.51.96.0/20    1.23k\n"
    assert "IPv6, by /48" in render.sources(SourcesStatus(True, one, one))
    assert render.sources(SourcesStatus(True, (), ())) == "no packets so far\n"
    assert "`count-prefixes: true`" in render.sources(SourcesStatus(False, (), ()))


def test_the_configuration() -> None:
    """Prefixes in order, and back again; what cannot be meant is an error."""
    config = parse('services: []\nblock: ["2001:db8::/32", 198.51.100.0/24, 10.0.0.0/8]\ncount-prefixes: true', "x")
    assert [str(prefix) for prefix in config.blocked] == ["10.0.0.0/8", "198.51.100.0/24", "2001:db8::/32"]
    assert config.count_prefixes
    assert parse(expand(config), "x") == config
    assert "block" not in expand(parse("services: []", "x"))
    for said, says in (
        ("0.0.0.0/0", "is everybody"),
        ("10.0.0.0/8, 10.0.0.0/8", "is listed twice"),
        ('"::ffff:10.0.0.0/104"', "write it as IPv4"),
        ("10.0.0.1", "has no prefix length"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse(f"services: []\nblock: [{said}]", "x")
