"""The labs that the tests share, one for each mode, and what is saved of them when a test fails."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import Lab, eventually

DOSSIERS = Path(__file__).parents[2] / "build" / "dossiers"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="labs are network namespaces and need root"))


def new_name() -> str:
    """A name that no other run has."""
    return f"t{secrets.token_hex(4)}"


def _shared(xdp: str) -> Iterator[Lab]:
    made = Lab(new_name(), xdp)
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture(scope="session")
def _native() -> Iterator[Lab]:
    yield from _shared("native")


@pytest.fixture(scope="session")
def _generic() -> Iterator[Lab]:
    yield from _shared("generic")


@pytest.fixture
def lab(_native: Lab) -> Lab:
    """The native lab, as new."""
    return _native.restore()


@pytest.fixture(params=["native", "generic"])
def either(request: pytest.FixtureRequest) -> Lab:
    """A lab in each mode, as new."""
    found: Lab = request.getfixturevalue(f"_{request.param}")
    return found.restore()


@pytest.fixture(scope="session")
def _bare() -> Iterator[Lab]:
    made = Lab(new_name())
    try:
        yield made.up("--no-wait")
    finally:
        made.down()


@pytest.fixture
def bare(_bare: Lab) -> Lab:
    """A lab in which balancer1 runs nothing and has nothing attached: for what happens before and after a run."""
    _bare.cli("kill", "--signal", "KILL", "balancer1", check=False)
    eventually(lambda: not Path("/proc", str(_bare.pid())).exists() or _zombie(_bare.pid()))
    _bare.run("balancer1", str(Path(os.sys.executable).parent / "fairlead"), "detach")
    return _bare


def _zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


@pytest.fixture
def labs() -> Iterator[Any]:
    """Makes labs for one test and removes them after it: `labs()` is a new one that is not up yet."""
    made: list[Lab] = []

    def make(xdp: str = "native") -> Lab:
        made.append(Lab(new_name(), xdp))
        return made[-1]

    yield make
    for lab in made:
        lab.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """On failure, save status, events and logs of every lab that the test used."""
    report = yield
    if report.failed and report.when in {"setup", "call"}:
        for argument in {id(v): v for v in getattr(item, "funcargs", {}).values() if isinstance(v, Lab)}.values():
            if argument.directory.exists():
                to = DOSSIERS / re.sub(r"[^\w.-]+", "_", item.name) / argument.name
                report.sections.append(("dossier", "\n".join(argument.dossier(to))))
    return report
