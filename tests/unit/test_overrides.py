"""The file of overrides: whole or not at all, and plain words for whatever is wrong with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from fairlead.adapters.overrides import Overrides
from fairlead.errors import KernelError
from fairlead.model import AdminState, Override, Protocol, ServiceKey

ALL = (
    Override(ip_address("10.1.0.11"), None, AdminState.DRAIN, None, "root", 5.5),
    Override(
        ip_address("2001:db8::1"),
        ServiceKey(ip_address("2001:db8::10"), 53, Protocol.UDP),
        None,
        7,
        "alice (root)",
        6.0,
    ),
)
WRITER = """
import sys
from ipaddress import ip_address
from fairlead.adapters.overrides import Overrides
from fairlead.model import Override
store = Overrides(sys.argv[1])
print("ready", flush=True)
for n in range(100000):
    store.save([Override(ip_address("10.1.0.11"), None, None, n % 1000, "root", float(n))] * 50)
"""


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    """Every field, of every kind; nothing where there is no file; a directory that is not there is made."""
    store = Overrides(str(tmp_path / "state"))
    assert store.load() == ()
    store.save(ALL)
    assert Overrides(str(tmp_path / "state")).load() == ALL
    store.save(())
    assert store.load() == ()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["overrides.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 1, "overrides": [{"backend": "x"}]}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    """It is said which file is damaged, and what to do; one of another format is left alone."""
    store = Overrides(str(tmp_path))
    store.path.write_text(text)
    with pytest.raises(KernelError, match=r"overrides\.json: it is damaged") as raised:
        store.load()
    assert "remove it" in str(raised.value)
    store.path.write_text(json.dumps({"format": 2, "overrides": []}))
    with pytest.raises(KernelError, match="it is of format 2"):
        store.load()


def test_no_room_is_said(tmp_path: Path) -> None:
    """Where nothing can be written the error names the file, and what stood there stands."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match=r"write .*/file/overrides\.json"):
        Overrides(str(tmp_path / "file")).save(ALL)


def test_killed_while_writing(tmp_path: Path) -> None:
    """Whenever the writer is killed, the file is one that it wrote, whole."""
    store = Overrides(str(tmp_path))
    for _ in range(15):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            while not store.path.exists():
                pass
            for _ in range(3):
                assert len(store.load()) == 50
            writer.send_signal(signal.SIGKILL)
        found = store.load()
        assert len(found) == 50
        assert len({o.weight for o in found}) == 1
