"""Where peers dial: the machine looked over for `listen`, and a session that the router opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, Lab, eventually

pytestmark = pytest.mark.root

LISTENER = "import socket, time; s = socket.create_server(('{}', 179)); print('ready', flush=True); time.sleep(600)"


def doctor(lab: Lab, path: Path, topic: str) -> tuple[str, str]:
    """Level and sentence of the finding on a topic."""
    found: list[dict[str, Any]] = json.loads(lab.try_run("balancer1", FAIRLEAD, "doctor", str(path), "--json").stdout)["findings"]
    (one,) = [each for each in found if each["topic"] == topic]
    return one["level"], one["says"]


def edited(lab: Lab, tmp_path: Path, keys: str) -> Path:
    path = tmp_path / "new.yaml"
    path.write_text(lab.config.replace("  hold_time: 9\n", f"  hold_time: 9\n  {keys}\n"))
    return path


def test_doctor_knows_who_listens(lab: Lab, tmp_path: Path) -> None:
    """Somebody else on the port is a failure, on another address it is none; Fairlead's own socket is in nobody's way."""
    path = edited(lab, tmp_path, "listen: [192.0.2.11]")
    assert doctor(lab, path, "port")[0] == "ok"
    for address, level in (("0.0.0.0", "fail"), ("127.0.0.1", "ok")):
        with lab.running("balancer1", "python3", "-c", LISTENER.format(address)) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            found = doctor(lab, path, "port")
        assert found[0] == level, found
    eventually(lambda: ":179 " not in lab.run("balancer1", "ss", "-Hltn"))

    lab.reload(path.read_text())
    eventually(lambda: "192.0.2.11:179 " in lab.run("balancer1", "ss", "-Hltn"))
    assert doctor(lab, path, "port") == ("ok", "TCP port 179 is free for peers to dial, or ours already")
    assert "listening on 192.0.2.11, port 179" in lab.run("balancer1", FAIRLEAD, "bgp")


def test_a_password_that_is_none(lab: Lab, tmp_path: Path) -> None:
    """A password file that is missing fails in `doctor` and refuses a configuration; one that all may read is a warning."""
    key = tmp_path / "bgp.key"
    path = edited(lab, tmp_path, f"password_file: {key}")
    assert doctor(lab, path, "password") == ("fail", f"cannot read the password file {key}: No such file or directory")
    refused = lab.try_run("balancer1", FAIRLEAD, "plan", str(path))
    assert (refused.returncode, "cannot read the password file" in refused.stderr) == (1, True)

    key.write_text("hunter2\n")
    key.chmod(0o644)
    assert doctor(lab, path, "password")[0] == "warn"
    planned = lab.try_run("balancer1", FAIRLEAD, "plan", str(path))
    assert "set BGP peer 192.0.2.1" in planned.stdout
    assert "hunter2" not in planned.stdout + lab.run("balancer1", FAIRLEAD, "check", str(path), "--expand")
