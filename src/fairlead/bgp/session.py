"""One BGP session without IO: bytes and moments in, bytes and events out (RFC 4271 section 8; the table is in `fsm`).

The caller owns a transport and a clock. After every input it sends `take_output()`, acts on `take_events()` (dial, hang up, log)
and arms one timer for `deadline()`; when that is due it calls `tick`. `now` is any clock that never goes back, in seconds. A new
session is due at once: its first `tick` dials. Output goes before the events that are taken with it: the NOTIFICATION that ends a
session is sent, then the connection is closed.

UPDATEs are made when output is taken, never earlier: a caller whose transport is full stops taking, and what changes meanwhile
costs nothing but the final difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from fairlead.bgp import wire
from fairlead.bgp.estate import Estate, opened_with
from fairlead.bgp.fsm import ARRIVES, TABLE, Do, Input, State
from fairlead.bgp.notifications import Cease, Code, in_words, pack_text
from fairlead.bgp.rib import AdjRibOut, Terms
from fairlead.bgp.wishes import Dial, HangUp, SessionEvent
from fairlead.errors import ProtocolError
from fairlead.events import PeerDown, PeerUp
from fairlead.model import Address, PeerConfig, PeerStatus, Route

# Seconds. While an OPEN is awaited the hold timer is long, and the retry timer is a back-stop behind the transport's own
# time-out; both values are those that RFC 4271 sections 8.2.2 and 10 suggest.
OPEN_WAIT = 240.0
CONNECT_RETRY = 120.0

# Seconds to wait before the first, second, ... dial after a failure; the last one from then on.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

# Seconds that a session must have been established for the next failure to count as a first one.
STABLE = 10.0


class Session:
    """The speaker's side towards one peer. `config.as_number` is our own AS; `chance` gives numbers in [0, 1) for jitter."""

    def __init__(self, config: PeerConfig, router_id: IPv4Address, chance: Callable[[], float], now: float) -> None:
        self._config = config
        self._router_id = router_id
        self._chance = chance
        self._rib = AdjRibOut(config)
        self._state = State.IDLE
        self._retry_at: float | None = now
        self._hold_at: float | None = None
        self._keepalive_at: float | None = None
        self._established_at = now
        self._failures = 0
        self._linked = False  # dialling or connected
        self._local: Address = router_id
        self._terms: Terms | None = None
        self._input = bytearray()
        self._output = bytearray()
        self._events: list[SessionEvent] = []
        self._last_error = ""
        self._reported = ""
        # What the step that is being taken is about.
        self._message: wire.Message = wire.Keepalive()
        self._notice = wire.Notification(Code.CEASE)
        self._why = ""

    # ------------------------------------------------------------------------------------------------------------------ inputs

    def connected(self, now: float, local: Address) -> None:
        """The connection stands; `local` is the address of our end."""
        self._local = local
        self._step(Input.CONNECTED, now)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the peer, in any chunking."""
        self._input += data
        try:
            for message in wire.messages(self._input):
                self._hear(message, now)
        except ProtocolError as error:
            self._notice = wire.Notification(error.code, error.subcode, error.data)
            self._why = f"sent {in_words(error.code, error.subcode)}: {error}"
            self._step(Input.WRONG, now)
        if not self._linked:
            self._input.clear()

    def disconnected(self, now: float, why: str) -> None:
        """The connection, or the attempt at one, is gone without our doing."""
        self._linked = False
        self._output.clear()
        self._why = why
        self._step(Input.LOST, now)

    def tick(self, now: float) -> None:
        """Let every timer that is due expire. At the same moment the hold timer goes first: a dead peer gets no KEEPALIVE."""
        if self._hold_at is not None and now >= self._hold_at:
            self._step(Input.HOLD, now)
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._step(Input.BEAT, now)
        if self._retry_at is not None and now >= self._retry_at:
            self._step(Input.RETRY, now)

    # ------------------------------------------------------------------------------------------------------------------- verbs

    def announce(self, routes: Iterable[Route]) -> None:
        """All routes that should be announced; the peer's filter applies."""
        self._rib.set_routes(routes)

    def configure(self, config: PeerConfig, now: float) -> None:
        """Take a new configuration of the same peer. Only what an OPEN says or the connection is made of needs a new session."""
        old, self._config = self._config, config
        self._rib.set_policy(config)
        if (old.as_number, old.hold_time, old.source) != (config.as_number, config.hold_time, config.source):
            self._notice = wire.Notification(Code.CEASE, Cease.OTHER_CONFIGURATION_CHANGE)
            self._why = "the configuration has changed"
            self._step(Input.RENEW, now)

    def shutdown(self, now: float, text: str = "", cease: Cease = Cease.ADMINISTRATIVE_SHUTDOWN) -> None:
        """Withdraw all, say why and stay down. Only an administrative shutdown carries the text (RFC 9003)."""
        data = pack_text(text) if cease is Cease.ADMINISTRATIVE_SHUTDOWN else b""
        self._notice = wire.Notification(Code.CEASE, cease, data)
        self._why = text or "stopped"
        self._step(Input.STOP, now)

    # -------------------------------------------------------------------------------------------------------------- succession

    def leave(self) -> Estate | None:
        """What a successor needs to go on with the connection; None unless established and all output is taken."""
        if self._state is not State.ESTABLISHED or self._terms is None or self._output:
            return None
        opened = opened_with(self._config, self._router_id)
        return Estate(self._config.address, opened, self._terms, bytes(self._input), self._rib.announced())

    def resume(self, estate: Estate, now: float) -> bool:
        """Go on with the connection that another session left, instead of dialling; False if ours would have to be another."""
        if estate.opened != opened_with(self._config, self._router_id):
            return False
        self._state, self._linked, self._retry_at = State.ESTABLISHED, True, None
        self._terms, self._local, self._established_at = estate.terms, estate.terms.local, now
        self._input += estate.heard
        self._rib.resume(estate.terms, estate.prefixes)
        self._restart_hold(now)
        self._beat(now)
        return True

    # ----------------------------------------------------------------------------------------------------------------- outputs

    def deadline(self) -> float | None:
        """When `tick` is due; None while no timer runs."""
        return min((at for at in (self._retry_at, self._hold_at, self._keepalive_at) if at is not None), default=None)

    def take_output(self) -> bytes:
        """The bytes to send, UPDATEs for what has changed included."""
        self._update()
        taken = bytes(self._output)
        self._output.clear()
        return taken

    def take_events(self) -> tuple[SessionEvent, ...]:
        """What to do and to log, in order."""
        taken = tuple(self._events)
        self._events.clear()
        return taken

    # ------------------------------------------------------------------------------------------------------------------ status

    @property
    def state(self) -> State:
        """The state of RFC 4271 section 8.2.2."""
        return self._state

    def status(self, since: float) -> PeerStatus:
        """What an operator wants to know; `since` is the Unix time of the last change of state, which only the caller knows."""
        return PeerStatus(
            address=str(self._config.address),
            state=self._state.value,
            since=since,
            remote_as=self._terms.remote_as if self._terms else 0,
            routes=tuple(str(prefix) for prefix in self._rib.announced()),
            last_error=self._last_error,
            withheld=tuple(f"{prefix}: {why}" for prefix, why in self._rib.withheld()),
        )

    # ------------------------------------------------------------------------------------------------------------------- steps

    def _hear(self, message: wire.Message, now: float) -> None:
        """One whole message. If one before it has ended the session, the table says that it means nothing."""
        if isinstance(message, wire.Open):
            self._check(message)
        if isinstance(message, wire.Notification):
            self._why = f"received {in_words(message.code, message.subcode, message.data)}"
        self._message = message
        self._step(ARRIVES[type(message)], now)

    def _check(self, message: wire.Open) -> None:
        """What of an OPEN only the session can judge: inside one AS identifiers differ (RFC 6286 section 2.3)."""
        if message.as_number == self._config.as_number and message.identifier == self._router_id:
            raise ProtocolError(f"the peer has our own router id {self._router_id}", Code.OPEN, 3)

    def _step(self, cause: Input, now: float) -> None:
        """The one place where the state changes."""
        step = TABLE[cause][self._state]
        self._carry_out(step, now)
        if step.after is not None:
            self._state = step.after

    def _carry_out(self, step: Do, now: float) -> None:
        match step:
            case Do.NOTHING:
                pass
            case Do.DIAL:
                self._dial(now)
            case Do.GREET:
                self._greet(now)
            case Do.CONFIRM:
                self._confirm(now)
            case Do.ESTABLISH:
                self._establish(now)
            case Do.SEND:
                self._beat(now)
            case Do.HEAR:
                self._restart_hold(now)
            case Do.RESEND:
                self._restart_hold(now)
                self._resend()
            case Do.WAIT | Do.FALL:
                self._fall(now)
            case Do.EXPIRE:
                self._expire(now)
            case Do.REFUSE:
                self._refuse(now)
            case Do.ANSWER | Do.RESTART:
                self._send(self._notice)
                self._fall(now)
            case Do.CEASE:
                self._cease(now)
            case Do.REST:
                self._rest()

    def _dial(self, now: float) -> None:
        self._hang_up()
        self._linked = True
        self._retry_at = now + self._jitter(CONNECT_RETRY)
        self._events.append(Dial())

    def _greet(self, now: float) -> None:
        self._input.clear()
        self._output.clear()
        self._retry_at = None
        self._hold_at = now + OPEN_WAIT
        self._send(wire.our_open(self._config.as_number, self._config.hold_time, self._router_id))

    def _confirm(self, now: float) -> None:
        """The terms are the lesser of both sides: hold time (RFC 4271 section 4.2), families, AS numbers of four octets."""
        theirs = self._message
        assert isinstance(theirs, wire.Open)
        self._terms = Terms(
            local_as=self._config.as_number,
            remote_as=theirs.as_number,
            hold_time=min(self._config.hold_time, theirs.hold_time),
            families=theirs.families,
            four_octet=theirs.four_octet,
            local=self._local,
            router_id=self._router_id,
        )
        if self._terms.hold_time:  # else the long wait goes on until their KEEPALIVE is here
            self._restart_hold(now)
        self._beat(now)

    def _establish(self, now: float) -> None:
        assert self._terms is not None
        self._restart_hold(now)
        self._established_at = now
        self._rib.begin(self._terms)
        self._reported = ""
        self._events.append(PeerUp(self._config.address, self._terms.remote_as))

    def _beat(self, now: float) -> None:
        """A KEEPALIVE every third of the hold time, none if that is 0 (RFC 4271 section 4.4)."""
        self._send(wire.Keepalive())
        hold = self._terms.hold_time if self._terms else 0
        self._keepalive_at = now + self._jitter(hold / 3) if hold else None

    def _restart_hold(self, now: float) -> None:
        hold = self._terms.hold_time if self._terms else 0
        self._hold_at = now + hold if hold else None

    def _resend(self) -> None:
        assert isinstance(self._message, wire.RouteRefresh)
        if self._message.family is not None:
            self._rib.refresh(self._message.family)

    def _expire(self, now: float) -> None:
        waited = (self._terms.hold_time if self._terms else 0) or int(OPEN_WAIT)
        self._why = f"nothing was heard for {waited} s: hold timer expired"
        self._send(wire.Notification(Code.HOLD_TIMER))
        self._fall(now)

    def _refuse(self, now: float) -> None:
        """RFC 6608 section 4 numbers the states in which a message was not expected."""
        subcode = {State.OPEN_SENT: 1, State.OPEN_CONFIRM: 2, State.ESTABLISHED: 3}[self._state]
        self._why = f"sent {in_words(Code.FSM, subcode)}: {type(self._message).__name__}"
        self._send(wire.Notification(Code.FSM, subcode))
        self._fall(now)

    def _cease(self, now: float) -> None:
        self._rib.set_routes(())
        self._update()
        self._send(self._notice)
        self._fall(now)
        self._rest()

    def _rest(self) -> None:
        self._hang_up()
        self._retry_at = None

    def _fall(self, now: float) -> None:
        """The connection is over: nothing that hung on it stays, and the next dial waits longer the more often this happens."""
        was_up = self._state is State.ESTABLISHED
        if was_up and now - self._established_at >= STABLE:
            self._failures = 0
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        self._hang_up()
        self._hold_at = self._keepalive_at = self._terms = None
        self._retry_at = now + self._jitter(pause)
        self._rib.end()
        self._last_error = self._why
        if was_up or self._why != self._reported:
            self._reported = self._why
            self._events.append(PeerDown(self._config.address, self._why))

    def _hang_up(self) -> None:
        if self._linked:
            self._linked = False
            self._events.append(HangUp())

    def _update(self) -> None:
        for update in self._rib.updates():
            self._send(update)

    def _send(self, message: wire.Message) -> None:
        self._output += wire.encode(message)

    def _jitter(self, seconds: float) -> float:
        """Three quarters to all of it, RFC 4271 section 10."""
        return seconds * (0.75 + 0.25 * self._chance())
