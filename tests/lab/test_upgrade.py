"""Upgrades and downgrades under traffic: other programs on the same tables; what could not take over never gets the chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import builds
from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, hitless_lab, traffic
from tests.lab.kit import FAIRLEAD, eventually
from tests.lab.snapshot import differences, snapshot

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Balancer, Path]]:
    """A lab whose daemon is started from a build, 1.0.0; the directory that builds stand in."""
    directory = tmp_path_factory.mktemp("builds")
    first = builds.build(directory, "1.0.0")
    with hitless_lab(new_name()) as balancer, builds.installed(balancer.lab, first):
        balancer.stop()
        balancer.start()
        assert balancer.started()["version"] == "1.0.0"
        yield balancer, directory


def test_upgrade_and_downgrade(site: tuple[Balancer, Path]) -> None:
    """Two builds whose programs differ, swapped both ways: by `fairlead restart`, by stop and start, by SIGKILL and start.

    The program changes each time, and nothing else does: no packet, connection, counter or id.
    """
    balancer, directory = site
    newer = builds.build(directory, "2.0.0")
    builds.with_another_program(newer, "volatile int newer = 1; newer++;")
    with builds.installed(balancer.lab, directory / "1.0.0") as present, traffic(balancer.lab) as report:
        tags: dict[str, set[str]] = {}
        for change in (balancer.restart, _stopped(balancer), _killed(balancer)):
            for version in ("2.0.0", "1.0.0"):
                present.turn(directory / version)
                change()
                assert balancer.started()["version"] == version
                tags.setdefault(version, set()).add(balancer.program()["tag"])
                balancer.require_continued()
    print(report)
    assert len(tags["1.0.0"]) == len(tags["2.0.0"]) == 1
    assert tags["1.0.0"] != tags["2.0.0"], "they would be the same program"
    assert report.unharmed(), report


def _stopped(balancer: Balancer) -> Callable[[], None]:
    def change() -> None:
        balancer.stop()
        balancer.start()

    return change


def _killed(balancer: Balancer) -> Callable[[], None]:
    def change() -> None:
        balancer.kill()
        balancer.start()

    return change


def _other_layout(made: Path) -> None:
    builds.edit(
        made,
        "_native/layout.py",
        '    text += [f"{name}={value}"',
        '    text += ["of a later one"]\n    text += [f"{name}={value}"',
    )


def _bug(made: Path) -> None:
    with (made / "fairlead" / "core" / "plan.py").open("a") as file:
        file.write('raise RuntimeError("a bug of the newer version")\n')


def _endless(made: Path) -> None:
    builds.with_another_program(made, 'for (;;) asm volatile("" ::: "memory");')


@pytest.mark.parametrize(
    ("version", "damage", "says"),
    [
        ("3.0.0", _other_layout, "another table layout"),
        ("3.0.1", _bug, "a bug of the newer version"),
        ("3.0.2", _endless, "the kernel's verifier|infinite loop|back-edge"),
    ],
    ids=["layout", "bug", "verifier"],
)
def test_what_could_not_take_over(site: tuple[Balancer, Path], version: str, damage: Callable[[Path], None], says: str) -> None:
    """A build that would not start is refused by `fairlead restart` with its own words, and the running daemon goes on."""
    balancer, directory = site
    made = builds.build(directory, version)
    damage(made)
    before = balancer.started()
    with builds.installed(balancer.lab, directory / "1.0.0") as present:
        present.turn(made)
        done = balancer.lab.try_run("balancer1", FAIRLEAD, "restart")
        present.turn(directory / "1.0.0")
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) < 12, done.stderr
    after = balancer.status()
    assert (after["started"], after["version"]) == (before["started"], "1.0.0")
    balancer.restart()


def test_another_layout_touches_nothing(site: tuple[Balancer, Path]) -> None:
    """A start of a version with another table layout is refused with exit code 1 before anything is touched, under traffic."""
    balancer, directory = site
    made = builds.build(directory, "4.0.0")
    _other_layout(made)
    lab = balancer.lab
    with builds.installed(lab, directory / "1.0.0") as present, traffic(lab) as report:
        balancer.stop()
        before, program = snapshot(lab), balancer.program()["id"]
        present.turn(made)
        balancer.start()
        eventually(lambda: balancer.state() == "exited with 1")
        assert "was made by a Fairlead with another table layout" in (lab.home("balancer1") / "log").read_text()
        assert not differences(before, snapshot(lab))
        assert balancer.program()["id"] == program
        present.turn(directory / "1.0.0")
        balancer.start()
        balancer.require_continued()
    assert report.unharmed(), report
