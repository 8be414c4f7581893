"""One BGP session without IO: bytes and moments in, bytes and events out.

The caller owns transports and a clock. After every input it sends `take_output()` of each connection, acts on `take_events()`
(dial, hang up, log) and arms one timer for `deadline()`; when that is due it calls `tick`. `now` is any clock that never goes
back, in seconds. A new session is due at once: its first `tick` dials. What is to be sent before a connection is closed comes
with the event that asks for that: the NOTIFICATION that ends a session is sent, then the connection is closed.

There may be two connections for a moment, one that we dialled and one that the peer did (`connection`); who is established makes
the other one rest.

UPDATEs are made when output is taken, never earlier: a caller whose transport is full stops taking, and what changes meanwhile
costs nothing but the final difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from fairlead.bgp import wire
from fairlead.bgp.capabilities import in_words
from fairlead.bgp.connection import Connection
from fairlead.bgp.estate import Estate, foundation, opened_with
from fairlead.bgp.fsm import Input, State
from fairlead.bgp.notifications import Cease, Code, pack_text
from fairlead.bgp.shared import Shared
from fairlead.bgp.wishes import SessionEvent, Side
from fairlead.model import Address, PeerConfig, PeerCounters, PeerStatus, Route

# Seconds after which End-of-RIB is said although not all that was announced before a restart is decided yet; half of the peer's
# patience if that is shorter (RFC 4724 section 4.1, its Selection_Deferral_Timer).
DEFERRAL = 60.0

_ORDER = list(State)


class Session:
    """The speaker's side towards one peer. `config.as_number` is our own AS; `chance` gives numbers in [0, 1) for jitter.

    `listening`: the peer may dial us, `accepted` will be called. `restarted`: a run before this one announced routes, and what
    they lead to is forwarded still (RFC 4724); then `settle` says when the routes are all there.
    """

    def __init__(
        self,
        config: PeerConfig,
        router_id: IPv4Address,
        chance: Callable[[], float],
        now: float,
        *,
        listening: bool = False,
        restarted: bool = False,
    ) -> None:
        self._shared = Shared(config, router_id, chance, forwards=restarted, restarting=restarted)
        self._listening = listening
        self._stopped = False
        self._dialled = Connection(Side.DIALLED, self._shared, None if config.passive else now)
        self._accepted = Connection(Side.ACCEPTED, self._shared, now if listening else None)
        self._dialled.rival, self._accepted.rival = self._accepted, self._dialled
        self._both = (self._dialled, self._accepted)
        self._settle_at: float | None = None
        self._settled = True

    # ------------------------------------------------------------------------------------------------------------------ inputs

    def connected(self, now: float, local: Address) -> None:
        """The connection that we dialled stands; `local` is the address of our end."""
        self._dialled.local = local
        self._dialled.step(Input.CONNECTED, now)
        self._balance(now)

    def accepted(self, now: float, local: Address) -> bytes | None:
        """The peer has dialled us. None if the connection is taken, else the last bytes for it.

        The newest one counts: who dials again has given the last one up. Only what is established is not given up for it, unless
        the peer restarts gracefully: then it is how its restart shows (RFC 4724 section 5).
        """
        waits = self._accepted
        standing = next((each for each in self._both if each.state is State.ESTABLISHED), None)
        if standing is not None and not (standing.terms is not None and standing.terms.restarts):
            return wire.encode(wire.Notification(Code.CEASE, Cease.COLLISION))
        if standing is None and (waits.state is State.IDLE or self._stopped):
            return wire.encode(wire.Notification(Code.CEASE, Cease.CONNECTION_REJECTED))
        for each in (standing, waits):
            if each is not None and each.linked:
                each.why = "the peer has made a new connection"
                each.output.clear()
                each.step(Input.LOST, now)
        waits.step(Input.AWAIT, now)
        waits.local = local
        waits.step(Input.CONNECTED, now)
        self._balance(now)
        return None

    def receive(self, data: bytes, now: float, side: Side = Side.DIALLED) -> None:
        """Bytes from the peer, in any chunking."""
        self._of(side).receive(data, now)
        self._balance(now)

    def disconnected(self, now: float, why: str, side: Side = Side.DIALLED) -> None:
        """A connection, or the attempt at one, is gone without our doing."""
        self._of(side).lost(now, why)
        self._balance(now)

    def blocked(self, now: float, side: Side, *, blocked: bool) -> None:
        """Whether the transport holds back what was taken of this side's output, because the peer does not read."""
        self._of(side).blocked(now, blocked=blocked)

    def tick(self, now: float) -> None:
        """Let every timer that is due expire."""
        if self._settle_at is not None and now >= self._settle_at:
            self.settle()
        for each in self._both:
            each.tick(now)
        self._balance(now)

    # ------------------------------------------------------------------------------------------------------------------- verbs

    def announce(self, routes: Iterable[Route]) -> None:
        """All routes that should be announced; the peer's filter applies."""
        self._shared.out.set_routes(routes)

    def unsettle(self) -> None:
        """What is announced is not all yet: End-of-RIB waits for `settle`, though not for ever."""
        self._settled = False
        self._shared.out.settle(settled=False)

    def settle(self) -> None:
        """What is announced is all there is for now."""
        self._settled, self._settle_at = True, None
        self._shared.out.settle()

    def configure(self, config: PeerConfig, now: float, *, listening: bool = False) -> None:
        """Take a new configuration of the same peer. Only what an OPEN says or the connection is made of needs a new session."""
        old, self._shared.config = self._shared.config, config
        self._listening = listening
        self._shared.out.set_policy(config)
        if foundation(old) != foundation(config):
            for each in self._both:
                each.notice = wire.Notification(Code.CEASE, Cease.OTHER_CONFIGURATION_CHANGE)
                each.why = "the configuration has changed"
                each.step(Input.RENEW, now)
        self._balance(now)

    def shutdown(self, now: float, text: str = "", cease: Cease = Cease.ADMINISTRATIVE_SHUTDOWN) -> None:
        """Withdraw all, say why and stay down. Only an administrative shutdown carries the text (RFC 9003)."""
        self._stopped = True
        data = pack_text(text) if cease is Cease.ADMINISTRATIVE_SHUTDOWN else b""
        for each in self._both:
            each.notice = wire.Notification(Code.CEASE, cease, data)
            if each.terms is not None and each.terms.hard_reset:  # else the peer would keep our routes, RFC 8538 section 3
                each.notice = wire.Notification(Code.CEASE, Cease.HARD_RESET, bytes([Code.CEASE, cease]) + data)
            each.why = text or "stopped"
            each.step(Input.STOP, now)

    # -------------------------------------------------------------------------------------------------------------- succession

    def assure(self, now: float) -> None:
        """Say KEEPALIVE out of turn: whoever goes on with the connection has the whole hold time to come."""
        for each in self._both:
            if each.state is State.ESTABLISHED:
                each.step(Input.BEAT, now)

    def leave(self) -> tuple[Side, Estate] | None:
        """What a successor needs to go on with the connection; None unless established and all output is taken."""
        for each in self._both:
            if each.state is State.ESTABLISHED and not each.output and each.ours is not None and each.theirs is not None:
                config, router_id = self._shared.config, self._shared.router_id
                told, heard = self._shared.out.announced(), bytes(each.input)
                opened = opened_with(config, router_id)
                return each.side, Estate(str(config), opened, each.side, each.ours, each.theirs, each.local, heard, told)
        return None

    def resume(self, estate: Estate, now: float) -> bool:
        """Go on with the connection that another session left, instead of dialling; False if ours would have to be another."""
        if estate.opened != opened_with(self._shared.config, self._shared.router_id):
            return False
        each = self._of(estate.side)
        terms = each.resume(estate.ours, estate.theirs, estate.local, estate.heard, now)
        self._shared.restarting, self._shared.forwards = False, True
        self._shared.out.resume(terms, estate.prefixes)
        self._balance(now)
        return True

    # ----------------------------------------------------------------------------------------------------------------- outputs

    def deadline(self) -> float | None:
        """When `tick` is due; None while no timer runs."""
        timers = (self._settle_at, self._dialled.deadline(), self._accepted.deadline())
        return min((at for at in timers if at is not None), default=None)

    def take_output(self, side: Side = Side.DIALLED) -> bytes:
        """The bytes to send on a connection, UPDATEs for what has changed included."""
        each = self._of(side)
        if each.state is State.ESTABLISHED:
            each.update()
        taken = bytes(each.output)
        each.output.clear()
        return taken

    def take_events(self) -> tuple[SessionEvent, ...]:
        """What to do and to log, in order."""
        taken = tuple(self._shared.events)
        self._shared.events.clear()
        return taken

    # ------------------------------------------------------------------------------------------------------------------ status

    @property
    def state(self) -> State:
        """The state of RFC 4271 section 8.2.2, of the connection that has come further."""
        return self._leading.state

    @property
    def resting(self) -> bool:
        """Nothing goes on, and nothing will by itself."""
        return all(each.resting for each in self._both)

    @property
    def stopped(self) -> bool:
        """It was shut down."""
        return self._stopped

    def status(self, since: float, now: float = 0.0, wall: float = 0.0) -> PeerStatus:
        """What an operator wants to know; `since` is the Unix time of the last change of state, `wall` the one of `now`."""
        shared, leading = self._shared, self._leading
        config, terms, theirs = shared.config, leading.terms, leading.theirs
        ours = leading.ours or wire.our_open(config.as_number, config.hold_time, shared.router_id, shared.offered())
        linked = leading.state in {State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED}
        return PeerStatus(
            address=str(config),
            state=leading.state.value,
            since=since,
            remote_as=terms.remote_as if terms else 0,
            routes=tuple(str(prefix) for prefix in shared.out.announced()),
            last_error=shared.last_error,
            withheld=tuple(f"{prefix}: {why}" for prefix, why in shared.out.withheld()),
            local_as=config.as_number,
            local=str(leading.local) if linked else "",
            remote_id=str(theirs.identifier) if theirs else "",
            why=self._why_not(now),
            last_error_at=wall - (now - shared.last_error_at) if shared.last_error else 0.0,
            ours=in_words(ours.capabilities),
            theirs=in_words(theirs.capabilities) if theirs else (),
            hold_time=terms.hold_time if terms else 0,
            keepalive=terms.hold_time / 3 if terms else 0.0,
            details=shared.out.details(),
            counters=self._counters(),
        )

    def _counters(self) -> PeerCounters:
        shared = self._shared
        heard = shared.heard
        sent, got = (shared.messages_in, shared.messages_out), (shared.updates_in, shared.updates_out)
        return PeerCounters(*sent, *got, heard.prefixes, heard.malformed, shared.established)

    def _why_not(self, now: float) -> str:
        """Why the session is not up."""
        last = f"; last: {self._shared.last_error}" if self._shared.last_error else ""
        retry = self._dialled.retry_at
        match self.state:
            case State.ESTABLISHED:
                return ""
            case State.OPEN_SENT:
                return "connected, the peer has not sent its OPEN yet" + last
            case State.OPEN_CONFIRM:
                return "both OPENs are sent, the peer has not confirmed ours yet" + last
            case State.CONNECT:
                return "dialling" + last
        if self._stopped:
            return "stopped" + last
        if retry is not None:
            return f"next dial in {max(0.0, retry - now):.0f} s{last}"
        waits = "waiting for the peer to dial" if self._listening else "passive, but nothing listens: `listen` is not set"
        return waits + last

    # ---------------------------------------------------------------------------------------------------------------- balance

    @property
    def _leading(self) -> Connection:
        """Who waits for the peer counts where it has come further than who dials, or nobody does."""
        waits, dials = self._accepted, self._dialled
        if waits.state in {State.IDLE, State.ACTIVE} and self._wanted(Side.DIALLED):
            return dials
        return waits if _ORDER.index(waits.state) > _ORDER.index(dials.state) else dials

    def _of(self, side: Side) -> Connection:
        return self._dialled if side is Side.DIALLED else self._accepted

    def _wanted(self, side: Side) -> bool:
        if self._stopped:
            return False
        return not self._shared.config.passive if side is Side.DIALLED else self._listening

    def _balance(self, now: float) -> None:
        """While one connection is established the other rests; when it is over both begin again."""
        for each in self._both:
            if each.rival.state is State.ESTABLISHED:
                if not each.resting:
                    each.step(Input.COLLISION, now)
            elif not self._wanted(each.side):
                if not each.resting and each.state in {State.IDLE, State.CONNECT, State.ACTIVE}:
                    each.step(Input.COLLISION, now)
            elif each.resting and each.rival.state is not State.OPEN_CONFIRM:
                each.wake(now)
        if not self._settled and self._settle_at is None and self.state is State.ESTABLISHED:
            graceful = self._shared.config.graceful_restart
            self._settle_at = now + min(DEFERRAL, graceful.time / 2 if graceful else 0.0)
