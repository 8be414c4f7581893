"""Whether a lab works yet: every client gets an answer from every VIP, and if it does not, what seems to be in the way."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from fairlead.lab import namespaces, plan
from fairlead.lab.client import BadAnswerError, fetch
from fairlead.lab.life import Lab, ask
from fairlead.lab.namespaces import LabError
from fairlead.lab.topology import Role

LEFT = "the lab is left as it is: look around with `fairlead lab exec`, then `fairlead lab down`"


def wait(lab: Lab, within: float) -> None:
    """Return once every client reaches every VIP and each balancer has its share; LabError if a daemon ends or time is up."""
    deadline = time.monotonic() + within
    waiting = [(client.name, vip) for client in lab.topology.of(Role.CLIENT) for vip in lab.topology.vips]
    with ThreadPoolExecutor(len(waiting)) as pool:
        while waiting:
            answers = list(pool.map(lambda pair: probe(lab, *pair), waiting))
            missing = [(*pair, says) for pair, says in zip(waiting, answers, strict=True) if says]
            waiting = [(client, vip) for client, vip, _ in missing]
            _all_run(lab)
            if waiting and time.monotonic() > deadline:
                client, vip, says = missing[0]
                raise LabError(f"not ready after {within:g} s: {client} does not reach {vip}: {says}\n{_look(lab)}")
            time.sleep(0.02 if waiting else 0)
    _all_share(lab, deadline)


def _all_share(lab: Lab, deadline: float) -> None:
    """Of several balancers each must be a next hop of every VIP in the router's kernel, or the lab is not what it seems."""
    wanted = len(lab.topology.of(Role.BALANCER))
    (router,) = lab.topology.of(Role.ROUTER)
    while wanted > 1:
        name = plan.namespace(lab.name, router.name)
        shown = {vip: namespaces.run(name, "ip", "-6" if ":" in vip else "-4", "route", "show", vip) for vip in lab.topology.vips}
        missing = [(vip, text.count("via ")) for vip, text in shown.items() if text.count("via ") < wanted]
        if not missing:
            return
        if time.monotonic() > deadline:
            vip, has = missing[0]
            raise LabError(f"not ready: the router has {has} of {wanted} paths to {vip}\n{_look(lab)}")
        _all_run(lab)
        time.sleep(0.05)


def probe(lab: Lab, client: str, vip: str) -> str:
    """Ask a VIP once from a client; "" if it answered, else why not."""

    async def once() -> None:
        async with asyncio.timeout(0.5):
            await fetch(vip)

    try:
        namespaces.inside(plan.namespace(lab.name, client), lambda: asyncio.run(once()))
    except TimeoutError:
        return "no answer"
    except (OSError, BadAnswerError) as error:
        return str(error)
    return ""


def _all_run(lab: Lab) -> None:
    for host, child in ask(lab, do="status")["hosts"].items():
        if child["state"] != "running":
            raise LabError(f"the daemon of {host} {child['state']}; the end of its log:\n{tail(lab, host)}\n{LEFT}")


def tail(lab: Lab, host: str, lines: int = 12) -> str:
    """The last lines of a host's log, indented."""
    path = lab.home(host) / "log"
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _look(lab: Lab) -> str:
    logs = "".join(f"the end of the log of {b.name}:\n{tail(lab, b.name)}\n" for b in lab.topology.of(Role.BALANCER))
    return logs + LEFT
