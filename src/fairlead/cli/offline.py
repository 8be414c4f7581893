"""Commands that need no daemon: `check`, `doctor`, and `detach`, which refuses to work against one."""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from collections.abc import Sequence

from fairlead import config, render
from fairlead.cli.online import complain
from fairlead.errors import ConfigError, FairleadError
from fairlead.model import Config


def read(path: str) -> Config:
    """The configuration in this file; ConfigError, or OSError if it cannot be read."""
    return config.parse(pathlib.Path(path).read_text(encoding="utf-8", errors="surrogateescape"), path)


def check(path: str, *, expand: bool) -> int:
    """`fairlead check`: warnings and errors go to standard error, the expansion to standard output."""
    try:
        found = read(path)
    except ConfigError as e:
        print(render.problems(e.problems), end="", file=sys.stderr)
        return 1
    except OSError as e:
        return complain(f"cannot read {path}: {e.strerror}")
    print(render.problems(found.warnings), end="", file=sys.stderr)
    if expand:
        print(config.expand(found), end="")
    else:
        backends = sum(len(s.backends) for s in found.services)
        numbers = {"VIP": len(found.vips()), "service": len(found.services), "backend": backends}
        print(f"{path} is good: {', '.join(f'{n} {name}' + 's' * (n != 1) for name, n in numbers.items())}")
    return 0


def doctor(path: str | None, interfaces: Sequence[str], places: tuple[str, str], *, as_json: bool) -> int:
    """`fairlead doctor`: 0 all is well, 1 something fails, 3 there are warnings. `places`: directories of pins and of state."""
    from fairlead import doctor as doctor_  # the name is the command's here

    findings = asyncio.run(doctor_.visit(path, tuple(interfaces), *places))
    verdict = doctor_.verdict(findings)
    if as_json:
        listed = [{"level": f.level.value, "topic": f.topic, "says": f.says, "mend": f.mend} for f in findings]
        print(json.dumps({"verdict": verdict, "findings": listed}, indent=2))
    else:
        print(render.findings(findings), end="")
    return {"ok": 0, "warn": 3, "fail": 1}[verdict]


def detach(socket: str, bpffs: str, state: str) -> int:
    """`fairlead detach`."""
    from fairlead.adapters import plumbing, system
    from fairlead.adapters.kept import KeptTotals
    from fairlead.adapters.kernel import detach_all
    from fairlead.adapters.offloads import Offloads
    from fairlead.doctor import missing_rights

    claim = system.Instance()  # held to the end, so that no daemon starts meanwhile
    try:
        running = claim.claim(socket)
        if running:
            return complain("\n".join([*running, "it would attach again: stop it first (SIGTERM), then detach"]))
        problem = missing_rights()
        if problem:
            return complain(problem)
        done = [*detach_all(bpffs), *asyncio.run(plumbing.remove()), *Offloads(state).restore()]
        KeptTotals(state, bpffs).remove()
    except FairleadError as e:
        return complain(str(e))
    finally:
        claim.release()
    for text in done or ["nothing of fairlead's is here"]:
        print(text)
    return 0
