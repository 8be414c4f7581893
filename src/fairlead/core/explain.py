"""What the twin of the data plane did with a frame, in the words of operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fairlead.core import explain_words as words
from fairlead.core import frames, hashes
from fairlead.model import Geometry, Layout, Protocol, ServiceKey
from fairlead.model.explaining import (
    ExplainedBackend,
    ExplainedFlow,
    ExplainedHop,
    ExplainedService,
    ExplainedTunnel,
    Explanation,
    Row,
    Step,
    Trial,
    number,
    octets,
)

_ACTIONS = {1: "drop", 2: "pass", 3: "tx", 4: "redirect"}  # enum xdp_action, linux/bpf.h
_STATES = ("active", "drain", "disabled", "down", "gone")
_FLOWS = ("embryonic", "established", "datagram", "closing")
_TUNNELS = ("ipip", "gre", "fou", "gue")


@dataclass(frozen=True, slots=True)
class Ground:
    """What an explanation rests on besides the trial: `timeouts` as in settings, names by ifindex and by service."""

    layout: Layout
    geometry: Geometry
    timeouts: bytes
    interfaces: Mapping[int, str]
    services: Mapping[ServiceKey, str]


def explained(ground: Ground, trial: Trial, frame: bytes, ifindex: int) -> Explanation:
    """The whole story of a frame that arrives on an interface."""
    story = _Story(ground, trial, frame)
    verdict = ground.layout.verdict_names()[number(trial.trace, "verdict") - ground.layout.constants["VERDICT_BASE"]]
    action, arrives = _ACTIONS.get(trial.action, "aborted"), _name(ground, ifindex)
    packet = frames.seen(frame).text
    steps = [Step("packet", f"{packet}, on {arrives}"), *story.steps(), Step("verdict", f"{verdict}: {words.VERDICTS[verdict]}")]
    return Explanation(
        verdict=verdict,
        vip=story.vip(),
        service=story.service(),
        flow=story.flow(),
        backend=story.backend(),
        next_hop=story.hop(),
        bytes="" if action == "drop" else trial.frame.hex(),
        action=action,
        interface=arrives,
        packet=packet,
        frame=frame.hex(),
        steps=tuple(steps),
    )


def _name(ground: Ground, ifindex: int) -> str:
    return ground.interfaces.get(ifindex, f"interface {ifindex}")


class _Story:
    """The trace of one trial, read."""

    def __init__(self, ground: Ground, trial: Trial, frame: bytes) -> None:
        self._ground = ground
        self._trial = trial
        self._frame = frame
        self._trace = {name: value for name, value in trial.trace.items() if isinstance(value, int)}
        self._c = ground.layout.constants

    def _said(self, flag: str) -> bool:
        return bool(self._trace["flags"] & self._c[f"TRACE_{flag}"])

    # ------------------------------------------------------------------------------------------------------- VIP and service

    def vip(self) -> str | None:
        """The packet's destination if it is a VIP; None too if it was not looked for."""
        found = frames.seen(self._frame).destination
        return str(found) if found is not None and self._is_vip() else None

    def _is_vip(self) -> bool:
        return self._said("VIP") or self._trial.destination is not None

    def service(self) -> ExplainedService | None:
        """By the destination that was found, by its own row, or by the entry whose packets are answered."""
        key = self._key()
        return None if key is None else ExplainedService(str(key), self._ground.services.get(key, ""))

    def _key(self) -> ServiceKey | None:
        row = self._trial.destination or (self._trial.entry if self._said("VIP") and self._trace["next"] else None)
        l4 = number(row, "l4") if row else self._trace["service_l4"]
        vip = self.vip()
        if not l4 or vip is None:
            return None
        address = IPv6Address(vip) if ":" in vip else IPv4Address(vip)
        return ServiceKey(address, hashes.wire_port(l4 & 0xFFFF), Protocol(l4 >> 16 & 0xFF))

    # ---------------------------------------------------------------------------------------------------------------------- flow

    def flow(self) -> ExplainedFlow | None:
        """The entry, the slot, or both: an entry that is not followed. None if it was neither looked for nor known."""
        entry, live = self._trace["word"], self._trace["service_live"]
        if not (entry or live):
            return None
        slots = live >> self._c["SERVICE_SIZE_SHIFT"] & ((1 << self._c["SERVICE_SIZE_BITS"]) - 1)
        return ExplainedFlow(
            state=self._state(entry) if entry else "",
            age=self._age() if entry else None,
            timeout=self._timeout() if entry else None,
            backend=_backend_of(self._trial.entry) if entry else "",
            followed=self._said("FOLLOWED"),
            slot=self._trace["slot"] if slots else None,
            slots=slots or None,
            then=self._then(),
        )

    def _number(self, word: int) -> int:
        return word >> self._c["FLOW_STATE_SHIFT"] & ((1 << self._c["FLOW_STATE_BITS"]) - 1)

    def _state(self, word: int) -> str:
        """As `fairlead flows` has it; answered ones are closing."""
        of = {self._c[f"FLOW_{name.upper()}"]: name for name in _FLOWS}
        return of.get(self._number(word), "closing")

    def _shift(self, word: int) -> int:
        established = self._number(word) == self._c["FLOW_ESTABLISHED"]
        return self._ground.geometry.coarse_shift if established else self._ground.geometry.fine_shift

    def _ticks(self) -> int:
        word = self._trace["word"]
        return ((self._trace["now"] >> self._shift(word)) - (word >> self._c["FLOW_SEEN_SHIFT"])) & 0xFF

    def _tick(self) -> float:
        """Seconds."""
        return (1 << self._shift(self._trace["word"])) / self._ground.geometry.hz

    def _age(self) -> float:
        return round(self._ticks() * self._tick(), 1)

    def _timeout(self) -> float:
        return round(self._ground.timeouts[self._number(self._trace["word"])] * self._tick(), 1)

    def _expired(self) -> bool:
        return self._ticks() > self._ground.timeouts[self._number(self._trace["word"])]

    def _then(self) -> str:
        """What the packet would leave in the flow table."""
        word, after = self._trace["word"], self._trace["next"]
        if not after:
            return self._nothing()
        if not self._said("FOLLOWED") and not self._said("CHOSEN"):
            return "would be noted as answered"
        if not self._said("FOLLOWED"):
            return "a new embryonic entry would take its place" if word else "an embryonic entry would be made"
        if self._state(after) != self._state(word):
            return f"would become {self._state(after)}"
        return "would be seen once more within its tick" if after & self._c["FLOW_AGAIN"] else "would be seen now"

    def _nothing(self) -> str:
        if self._said("FOLLOWED") or (self._trace["word"] and not self._said("CHOSEN")):
            return "would stay as it is"
        untracked = self._trace["service_live"] >> self._c["SERVICE_FLAG_SHIFT"] & self._c["SERVICE_UNTRACKED"]
        return "no entry would be made: the service has `track: false`" if untracked else "no entry would be made"

    # ---------------------------------------------------------------------------------------------------- backend and next hop

    def backend(self) -> ExplainedBackend | None:
        """Whom it goes to, or would, had it not been dropped on the way."""
        if not self._trial.destination:
            return None
        return ExplainedBackend(
            _backend_of(self._trial.destination), self._standing(self._trace["live"]), self._trace["destination"]
        )

    def _standing(self, live: int) -> str:
        state = live >> self._c["DESTINATION_STATE_SHIFT"] & ((1 << self._c["DESTINATION_STATE_BITS"]) - 1)
        return next((name for name in _STATES if self._c[f"DESTINATION_{name.upper()}"] == state), "gone")

    def hop(self) -> ExplainedHop | None:
        """None if its MAC is not known."""
        row = self._trial.nexthop
        if not row:
            return None
        return ExplainedHop(
            interface=_name(self._ground, number(row, "ifindex")),
            mac=octets(row, "mac_destination").hex(":"),
            source_mac=octets(row, "mac_source").hex(":"),
            vlan=number(row, "vlan"),
            mtu=number(row, "mtu"),
            tunnel=self._tunnel(row),
        )

    def _tunnel(self, row: Row) -> ExplainedTunnel | None:
        kinds = {self._c[f"TUNNEL_{name.upper()}"]: name for name in _TUNNELS}
        kind, outer = kinds.get(number(row, "tunnel")), octets(row, "outer")
        if kind is None:
            return None
        v6 = bool(number(row, "flags") & self._c["NEXTHOP_OUTER_IPV6"])
        source, destination = (
            (IPv6Address(outer[8:24]), IPv6Address(outer[24:40]))
            if v6
            else (IPv4Address(outer[12:16]), IPv4Address(outer[16:20]))
        )
        behind = outer[40:] if v6 else outer[20:]
        port = int.from_bytes(behind[2:4], "big") if kind in {"fou", "gue"} else 0
        return ExplainedTunnel(kind, str(source), str(destination), port, number(row, "outer_length"))

    # --------------------------------------------------------------------------------------------------------------- the story

    def steps(self) -> list[Step]:
        """What was decided on the way, in its order."""
        vip, service, flow, backend, hop = self.vip(), self.service(), self.flow(), self.backend(), self.hop()
        found = [Step("VIP", vip)] if vip else []
        if service:
            found.append(Step("service", f"{service.service} ({service.name})" if service.name else service.service))
        if self._said("FRAGMENT"):
            found.append(Step("fragment", words.fragment(known=self._said("GIVEN"))))
        elif flow:
            found.append(Step("flow", words.flow(flow, self._why_not())))
        if backend:
            found.append(Step("backend", f"{backend.address}, {backend.state}"))
        if hop:
            found.append(Step("next hop", words.hop(hop)))
        if hop and hop.tunnel:
            found.append(Step("tunnel", words.tunnel(hop.tunnel)))
        if hop:
            found.append(Step("size", words.size(self._trace["length"], hop)))
        return found

    def _why_not(self) -> str:
        """Why an entry that was found does not say where to."""
        live = self._trace["entry_live"]
        flags = live >> self._c["DESTINATION_FLAG_SHIFT"]
        if not live:
            return "its backend's row is free again"
        if self._expired():
            return "it has expired"
        if not flags & self._c["DESTINATION_FOLLOW"]:
            return f"its backend is {self._standing(live)} and lets its flows go"
        if self._trial.entry and self._trial.destination and self._trial.entry["l4"] != self._trial.destination["l4"]:
            return "it is another service's, with the same tag"
        return "a SYN begins a new connection here"


def _backend_of(row: Row | None) -> str:
    return str(hashes.unmapped(octets(row, "backend"))) if row else ""
