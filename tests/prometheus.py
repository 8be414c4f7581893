"""Debian's Prometheus, unpacked under .tools/ like the other programs that only tests use."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


def program(name: str) -> str:
    """`promtool` or `prometheus`."""
    for place in (ROOT / ".tools" / "prometheus" / "usr" / "bin" / name, shutil.which(name)):
        if place and Path(place).exists():
            return str(place)
    pytest.fail(f"{name} is missing: run `make setup`, which unpacks it under .tools/", pytrace=False)


def promtool(*words: str, text: str = "") -> str:
    """What it says; it must be content."""
    done = subprocess.run([program("promtool"), *words], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts() -> dict[str, dict[str, Any]]:
    """The rules that are shipped, by the alert's name."""
    return {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def seconds(text: str) -> int:
    """Prometheus's way to write a duration of one unit."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def hurried() -> str:
    """The rules for a lab that has no time: the same but for how long a thing must last and how far back rates look."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[\d+[smhd]\]", "[60s]", rule["expr"].replace("[5m]", "[20s]"))
            if "for" in rule:
                rule["for"] = "1s"
    return yaml.safe_dump(rules, sort_keys=False, width=1000)
