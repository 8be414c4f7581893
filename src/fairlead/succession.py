"""How a run hands over to the next one in the same process: `fairlead restart`, which upgrades use.

The process executes its own command line again, so whatever is installed now is what runs then. Nothing that others hold on to is
let go meanwhile: the lock of the pins, the instance's name, the listening socket of the API and the BGP connections are inherited
as descriptors, and a small file in memory (memfd_create(2)) says which is which. So no second daemon can slip in, a client that
asks during the change waits for the successor's answer, and no router learns of it. Signals that arrive meanwhile are blocked,
and blocked ones wait for the successor (execve(2)).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from fairlead.errors import Refused

VARIABLE = "FAIRLEAD_LEGACY"  # PID:DESCRIPTOR of the file; of no other process's
FORMAT = 2
KNOWN = frozenset([1, FORMAT])  # 1 had no `listening`
TRIAL_WITHIN = 30.0  # seconds
_HELD = (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a run leaves to its successor: descriptors, -1 for none, and what cannot be read from the tables.

    `announced` are the VIPs whose routes stand; `sessions` the BGP sessions, as the speaker words them; `descriptors` are all.
    """

    lock: int = -1
    name: int = -1
    api: int = -1
    announced: tuple[str, ...] = ()
    sessions: tuple[dict[str, Any], ...] = ()
    descriptors: tuple[int, ...] = ()
    listening: tuple[tuple[str, int, int], ...] = ()  # the API over TCP: address, port, descriptor
    format: int = FORMAT


def inherit() -> Legacy | None:
    """What the run before this one left, None if there was none in this process or it speaks another format."""
    pid, _, descriptor = os.environ.pop(VARIABLE, "").partition(":")
    if pid != str(os.getpid()):
        return None
    with os.fdopen(int(descriptor), encoding="utf-8") as file:
        found = json.load(file)
    for each in found["descriptors"]:
        os.set_inheritable(each, False)
    if found["format"] not in KNOWN:
        for each in found["descriptors"]:
            os.close(each)
        return None
    lists = {name: tuple(found[name]) for name in ("announced", "sessions", "descriptors")}
    listening = tuple((address, port, number) for address, port, number in found.get("listening", ()))
    return Legacy(**found | lists | {"listening": listening})


def bequeath(legacy: Legacy) -> NoReturn:
    """Execute this process's command line again. OSError if it is not there any more."""
    file = os.memfd_create("fairlead-legacy")
    os.write(file, json.dumps(asdict(legacy)).encode())
    os.lseek(file, 0, os.SEEK_SET)
    for each in (file, *legacy.descriptors):
        os.set_inheritable(each, True)
    os.environ[VARIABLE] = f"{os.getpid()}:{file}"
    os.execv(sys.executable, command())  # noqa: S606 - our own command line


def command() -> list[str]:
    """The command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


def hold_signals() -> None:
    """From now on signals wait for whoever lets them through: this process's successor, most likely."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release_signals() -> None:
    """Let signals through, those first that came since `hold_signals`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


async def trial(layout: str) -> str:
    """Ask what is installed now whether it could take over, and return its version.

    Refused with its words if it could not: it does not start, does not like the configuration, or has another table layout than
    `layout`. It runs with our command line and `--trial`, and changes nothing.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command(), "--trial", stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise Refused([f"cannot run {sys.executable}: {error.strerror}"]) from None
    try:
        async with asyncio.timeout(TRIAL_WITHIN):
            out, says = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Refused(
            [f"what is installed now did not answer within {TRIAL_WITHIN:g} s: {' '.join(command())} --trial"]
        ) from None
    if process.returncode:
        lines = says.decode(errors="replace").strip().splitlines()[-8:]
        raise Refused(["what is installed now would not start, the running daemon goes on:", *lines])
    return _judged(out, layout)


def _judged(out: bytes, layout: str) -> str:
    try:
        found = json.loads(out)
        version, theirs = str(found["version"]), str(found["layout"])
    except (ValueError, KeyError, TypeError):
        raise Refused(["what is installed now gave no answer that this version understands"]) from None
    if theirs != layout:
        reason = (
            f"fairlead {version}, which is installed now, has another table layout ({theirs}, not {layout}) and could not adopt "
            "the running data plane; this daemon goes on. To change over, stop it, `fairlead detach`, and start the new one"
        )
        raise Refused([reason])
    return version
