"""What peers are offered: VIPs that are up, aggregates beside or instead of them, and less and less when the balancer leaves."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from fairlead.core.announce import Announcer, offers
from fairlead.core.plan import VipPlan
from fairlead.model import Aggregate, Route

NET = ip_network("192.0.2.0/24")


class Scene:
    """An announcer whose VIPs and clock the test moves; `pass_` is what a pass does, as the texts of its operations."""

    def __init__(self, *aggregates: Aggregate) -> None:
        self.told: list[tuple[Route, ...]] = []
        self.announcer = Announcer(lambda event: None, self.told.append)
        self.aggregates = aggregates
        self.plans: dict[str, VipPlan] = {}
        self.now = 100.0

    def vip(self, text: str, *, up: bool = True, hold: float = 0.0, names: str = "", priority: str = "") -> None:
        vip = ip_address(text)
        since = self.now if text not in self.plans else self.plans[text].since
        reason = "" if up else "its backends are down"
        self.plans[text] = VipPlan(vip, up, up, reason, hold, since, priority, frozenset(names.split()))

    def pass_(self) -> list[str]:
        self.announcer.replan({plan.vip: plan for plan in self.plans.values()}, self.aggregates)
        ops = self.announcer.withdraw(self.now)
        ops += self.announcer.announce(lambda vip: True, self.now)
        return [op.text for op in ops]

    def offered(self) -> list[str]:
        """What peers were told last."""
        return sorted(str(route.prefix) for route in self.told[-1]) if self.told else []

    def reasons(self) -> dict[str, str]:
        return {v.address: v.reason for v in self.announcer.status(self.now, lambda vip: "") if not v.announced}


def test_a_vip_is_announced_and_withdrawn():
    """Each change is told once, with its reason; nothing is told where nothing changes."""
    scene = Scene()
    scene.vip("192.0.2.10")

    assert scene.pass_() == ["announce 192.0.2.10/32"]
    assert scene.pass_() == []
    scene.vip("192.0.2.10", up=False)
    assert scene.pass_() == ["withdraw 192.0.2.10/32: its backends are down"]
    assert [len(routes) for routes in scene.told] == [1, 0]


def test_aggregate():
    """An aggregate comes with the first VIP in it, beside it, and goes with the last."""
    scene = Scene(Aggregate(NET))
    scene.vip("192.0.2.10")
    scene.vip("198.51.100.1")

    assert scene.pass_() == ["announce 192.0.2.0/24", "announce 192.0.2.10/32", "announce 198.51.100.1/32"]
    scene.vip("192.0.2.11")
    assert scene.pass_() == ["announce 192.0.2.11/32"]
    scene.vip("192.0.2.10", up=False)
    assert scene.pass_() == ["withdraw 192.0.2.10/32: its backends are down"]
    scene.vip("192.0.2.11", up=False)
    assert set(scene.pass_()) == {
        "withdraw 192.0.2.11/32: its backends are down",
        "withdraw 192.0.2.0/24: no VIP in it is announced any more",
    }
    assert scene.offered() == ["198.51.100.1/32"]


def test_aggregate_only():
    """With `only` the VIPs in it are not told, but count as announced; the change between both ways is never without a route."""
    scene = Scene(Aggregate(NET, only=True))
    scene.vip("192.0.2.10")

    assert scene.pass_() == ["announce 192.0.2.0/24"]
    assert scene.reasons() == {}
    scene.aggregates = ()
    assert scene.pass_() == ["announce 192.0.2.10/32", "withdraw 192.0.2.0/24: not among the aggregates any more"]
    scene.aggregates = (Aggregate(NET, only=True),)
    assert scene.pass_() == ["announce 192.0.2.0/24", "withdraw 192.0.2.10/32: an aggregate stands for it"]
    assert [len(routes) for routes in scene.told] == [1, 1, 1]


def test_aggregates_do_not_mix_families():
    """An IPv6 prefix covers no IPv4 VIP, however short it is."""
    route = Route(ip_network("192.0.2.10/32"))

    assert list(offers([route], [Aggregate(ip_network("::/0"))], leaving=False)) == [route.prefix]


def test_what_rules_can_match():
    """A route names its VIP's services and the highest priority; an aggregate those of all VIPs in it. A change is told on."""
    scene = Scene(Aggregate(NET))
    scene.vip("192.0.2.10", names="web api", priority="high")
    scene.vip("192.0.2.11", names="dns", priority="low")
    scene.pass_()
    by_prefix = {str(route.prefix): (sorted(route.names), route.priority) for route in scene.told[-1]}

    assert by_prefix == {
        "192.0.2.0/24": (["api", "dns", "web"], "high"),
        "192.0.2.10/32": (["api", "web"], "high"),
        "192.0.2.11/32": (["dns"], "low"),
    }
    scene.vip("192.0.2.11", names="dns", priority="critical")
    assert scene.pass_() == []
    assert {route.priority for route in scene.told[-1]} == {"critical", "high"}


def test_leaving():
    """First the community, at the given moment nothing any more, whatever comes up; back again all at once."""
    scene = Scene(Aggregate(NET))
    scene.vip("192.0.2.10")
    scene.pass_()
    scene.announcer.leave(scene.now + 10, "drained by root")

    assert scene.pass_() == [f"announce {p} with the graceful shutdown community" for p in ("192.0.2.0/24", "192.0.2.10/32")]
    assert all(route.graceful_shutdown for route in scene.told[-1])
    assert scene.announcer.deadline(scene.now) == scene.now + 10
    scene.now += 10
    assert set(scene.pass_()) == {f"withdraw {p}: drained by root" for p in ("192.0.2.0/24", "192.0.2.10/32")}
    assert scene.offered() == []
    scene.vip("192.0.2.11")
    assert scene.pass_() == []
    assert scene.reasons() == {"192.0.2.10": "drained by root", "192.0.2.11": "drained by root"}
    scene.announcer.stay()
    assert scene.pass_() == ["announce 192.0.2.0/24", "announce 192.0.2.10/32", "announce 192.0.2.11/32"]
    assert not any(route.graceful_shutdown for route in scene.told[-1])


def test_gone_before_it_began():
    """A balancer that starts drained announces nothing, and a VIP that is down keeps its own reason."""
    scene = Scene()
    scene.announcer.leave(scene.now - 5, "drained by root")
    scene.vip("192.0.2.10")
    scene.vip("192.0.2.11", up=False)

    assert scene.pass_() == []
    assert scene.told == []
    assert scene.reasons() == {"192.0.2.10": "drained by root", "192.0.2.11": "its backends are down"}


def test_leaving_keeps_to_the_hold():
    """A VIP still waits for its hold time while the balancer leaves, and says so."""
    scene = Scene()
    scene.vip("192.0.2.10", hold=5)
    scene.announcer.leave(scene.now + 60, "drained by root")

    assert scene.pass_() == []
    assert scene.reasons() == {"192.0.2.10": "up for 0 of 5 s"}
    scene.now += 5
    assert scene.pass_() == ["announce 192.0.2.10/32 with the graceful shutdown community"]


def test_settled():
    """All there is for now: every VIP that is up is announced, or none is to be."""
    scene = Scene()
    scene.vip("192.0.2.10", hold=5)
    scene.vip("192.0.2.11", up=False)
    scene.pass_()
    assert not scene.announcer.settled(scene.now)
    scene.now += 5
    scene.pass_()
    assert scene.announcer.settled(scene.now)
    scene.vip("192.0.2.12", hold=5)
    scene.announcer.leave(scene.now, "drained by root")
    scene.pass_()
    assert scene.announcer.settled(scene.now)
