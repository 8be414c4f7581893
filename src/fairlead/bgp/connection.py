"""One connection of a session, without IO: the state machine of `fsm` carried out (RFC 4271 section 8).

A session has two of these, for life: one that dials and one that waits for the peer to do so; see `Shared` for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from fairlead.bgp import wire
from fairlead.bgp.fsm import ARRIVES, TABLE, Do, Input, State, survivor
from fairlead.bgp.notifications import Cease, Code, in_words
from fairlead.bgp.shared import Shared
from fairlead.bgp.terms import Terms, agree
from fairlead.bgp.wishes import Dial, HangUp, Side
from fairlead.errors import ProtocolError
from fairlead.events import PeerUp
from fairlead.model import Address

# Seconds. While an OPEN is awaited the hold timer is long, and the retry timer is a back-stop behind the transport's own
# time-out; both values are those that RFC 4271 sections 8.2.2 and 10 suggest.
OPEN_WAIT = 240.0
CONNECT_RETRY = 120.0

# Seconds to wait before the first, second, ... dial after a failure; the last one from then on. Who waits for the peer to dial
# waits once less: a router that is turned away may not come back for two minutes.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

# So many failures count of those in which the peer said nothing: dials that failed, hold timers that expired. Patience is for who
# turns us away or falls again and again; where a cable was cut or a router restarts it would only prolong that.
SILENT = 1

# Seconds that a session must have been established for the next failure to count as a first one.
STABLE = 10.0

# Seconds that a peer may take none of our bytes, or twice the hold time if that is longer: RFC 9687 section 6.
SEND_HOLD = 480.0


class Connection:
    """One machine. `now` is any clock that never goes back, in seconds; `due` is when it begins, None for not by itself."""

    rival: Connection

    def __init__(self, side: Side, shared: Shared, due: float | None) -> None:
        self.side = side
        self.state = State.IDLE
        self.retry_at = due
        self.hold_at: float | None = None
        self.keepalive_at: float | None = None
        self.stuck_at: float | None = None
        self.failures = 0
        self.linked = False  # dialling or connected
        self.ours: wire.Open | None = None
        self.theirs: wire.Open | None = None
        self.terms: Terms | None = None
        self.local: Address = shared.router_id
        self.input = bytearray()
        self.output = bytearray()
        self._shared = shared
        self._established_at = 0.0
        # What the step that is being taken is about.
        self._message: wire.Message = wire.Keepalive()
        self.notice = wire.Notification(Code.CEASE)
        self.why = ""
        self._silent = False

    @property
    def resting(self) -> bool:
        """Down until somebody wakes it."""
        return self.state is State.IDLE and self.retry_at is None

    # ------------------------------------------------------------------------------------------------------------------ inputs

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the peer, in any chunking."""
        self.input += data
        try:
            for message in wire.messages(self.input, self._longest):
                self._shared.messages_in += 1
                self._hear(message, now)
                if not self.linked:
                    break
        except ProtocolError as error:
            self.notice = wire.Notification(error.code, error.subcode, error.data)
            self.why = f"sent {in_words(error.code, error.subcode)}: {error}"
            self.step(Input.WRONG, now)
        if not self.linked:
            self.input.clear()

    def lost(self, now: float, why: str) -> None:
        """The connection, or the attempt at one, is gone without our doing."""
        self.linked = False
        self.output.clear()
        self.why = why
        self.step(Input.LOST, now)

    def tick(self, now: float) -> None:
        """Let every timer that is due expire. At the same moment the hold timer goes first: a dead peer gets no KEEPALIVE."""
        if self.hold_at is not None and now >= self.hold_at:
            self.step(Input.HOLD, now)
        if self.stuck_at is not None and now >= self.stuck_at:
            self.step(Input.STUCK, now)
        if self.keepalive_at is not None and now >= self.keepalive_at:
            self.step(Input.BEAT, now)
        if self.retry_at is not None and now >= self.retry_at:
            self.step(Input.RETRY if self.side is Side.DIALLED else Input.AWAIT, now)

    def deadline(self) -> float | None:
        """When `tick` is due; None while no timer runs."""
        timers = (self.retry_at, self.hold_at, self.keepalive_at, self.stuck_at)
        return min((at for at in timers if at is not None), default=None)

    def blocked(self, now: float, *, blocked: bool) -> None:
        """Whether the peer takes our bytes at present (RFC 9687)."""
        hold = self.terms.hold_time if self.terms else 0
        self.stuck_at = now + max(SEND_HOLD, 2.0 * hold) if blocked and self.linked else None

    def wake(self, now: float) -> None:
        """Begin again, after the pause that its failures ask for."""
        self.retry_at = now + self._jitter(self._pause())

    def resume(self, ours: wire.Open, theirs: wire.Open, local: Address, heard: bytes, now: float) -> Terms:
        """Be established with a connection that another process has made, and give its terms."""
        self.state, self.linked, self.retry_at = State.ESTABLISHED, True, None
        self.ours, self.theirs, self.local, self._established_at = ours, theirs, local, now
        self.terms = agree(ours, theirs, local)
        self.input += heard
        self._restart_hold(now)
        self._beat(now)
        return self.terms

    # ------------------------------------------------------------------------------------------------------------------- steps

    def step(self, cause: Input, now: float) -> None:
        """The one place where the state changes."""
        step = TABLE[cause][self.state]
        self._silent = cause is Input.HOLD or (cause is Input.LOST and self.state in {State.CONNECT, State.ACTIVE})
        if step is not Do.NOTHING:
            self._STEPS[step](self, now)
        if step.after is not None:
            self.state = step.after

    def _longest(self) -> int:
        return self.terms.longest if self.terms else wire.LONGEST_MESSAGE

    def _hear(self, message: wire.Message, now: float) -> None:
        """One whole message."""
        if isinstance(message, wire.Open) and self.state is State.OPEN_SENT:
            self._check(message)
            if self._collides(message, now):
                return
        if isinstance(message, wire.Update) and self.state is State.ESTABLISHED:
            assert self.terms is not None
            self._shared.updates_in += 1
            self._shared.heard.hear(message, self.terms, self._shared.config.max_prefixes)
        if isinstance(message, wire.Notification):
            self.why = f"received {in_words(message.code, message.subcode, message.data)}"
        self._message = message
        self.step(ARRIVES[type(message)], now)

    def _check(self, message: wire.Open) -> None:
        """What of an OPEN only the session can judge: whose it is (RFC 4271 section 6.2, RFC 6286 section 2.3)."""
        config, router_id = self._shared.config, self._shared.router_id
        if config.remote_as is not None and message.as_number != config.remote_as:
            raise ProtocolError(f"the peer is AS {message.as_number}, not {config.remote_as}", Code.OPEN, 2)
        if message.as_number == config.as_number and message.identifier == router_id:
            raise ProtocolError(f"the peer has our own router id {router_id}", Code.OPEN, 3)

    def _collides(self, message: wire.Open, now: float) -> bool:
        """Resolve a collision, RFC 4271 section 6.8: True if this connection is the one that went."""
        ours = (self._shared.router_id, self._shared.config.as_number)
        match self.rival.state:
            case State.ESTABLISHED:
                loser: Connection = self
            case State.OPEN_CONFIRM:
                stays = survivor(ours, (message.identifier, message.as_number))
                loser = self.rival if stays is self.side else self
            case _:
                return False
        loser.step(Input.COLLISION, now)
        return loser is self

    def _dial(self, now: float) -> None:
        self._hang_up()
        self.linked = True
        self.retry_at = now + self._jitter(CONNECT_RETRY)
        self._shared.events.append(Dial())

    def _greet(self, now: float) -> None:
        self.input.clear()
        self.output.clear()
        self.linked = True
        self.retry_at = None
        self.hold_at = now + OPEN_WAIT
        config = self._shared.config
        self.ours = wire.our_open(config.as_number, config.hold_time, self._shared.router_id, self._shared.offered())
        self.send(self.ours)

    def _confirm(self, now: float) -> None:
        assert isinstance(self._message, wire.Open) and self.ours is not None
        self.theirs = self._message
        self.terms = agree(self.ours, self.theirs, self.local)
        if self.terms.hold_time:  # else the long wait goes on until their KEEPALIVE is here
            self._restart_hold(now)
        self._beat(now)

    def _establish(self, now: float) -> None:
        assert self.terms is not None
        shared = self._shared
        self._restart_hold(now)
        self._established_at = now
        shared.out.begin(self.terms)
        shared.established += 1
        shared.reported = ""
        shared.restarting, shared.forwards = False, True
        shared.events.append(PeerUp(shared.config.address, self.terms.remote_as))

    def _beat(self, now: float) -> None:
        """A KEEPALIVE every third of the hold time, none if that is 0 (RFC 4271 section 4.4)."""
        self.send(wire.Keepalive())
        hold = self.terms.hold_time if self.terms else 0
        self.keepalive_at = now + self._jitter(hold / 3) if hold else None

    def _restart_hold(self, now: float) -> None:
        hold = self.terms.hold_time if self.terms else 0
        self.hold_at = now + hold if hold else None

    def _listen(self, _now: float) -> None:
        self.retry_at = None

    def _resend(self, now: float) -> None:
        self._restart_hold(now)
        assert isinstance(self._message, wire.RouteRefresh)
        if self._message.family is not None:
            self._shared.out.refresh(self._message.family)

    def _expire(self, now: float) -> None:
        waited = (self.terms.hold_time if self.terms else 0) or int(OPEN_WAIT)
        self.why = f"nothing was heard for {waited} s: hold timer expired"
        self.send(wire.Notification(Code.HOLD_TIMER))
        self._fall(now)

    def _give_up(self, now: float) -> None:
        """RFC 9687 section 4: the NOTIFICATION is worth a try only."""
        self.why = "the peer took nothing that was sent: send hold timer expired"
        self.output.clear()
        self.send(wire.Notification(Code.SEND_HOLD_TIMER))
        self._fall(now)

    def _refuse(self, now: float) -> None:
        """RFC 6608 section 4 numbers the states in which a message was not expected."""
        subcode = {State.OPEN_SENT: 1, State.OPEN_CONFIRM: 2, State.ESTABLISHED: 3}[self.state]
        self.why = f"sent {in_words(Code.FSM, subcode)}: {type(self._message).__name__}"
        self.send(wire.Notification(Code.FSM, subcode))
        self._fall(now)

    def _answer(self, now: float) -> None:
        self.send(self.notice)
        self._fall(now)

    def _cease(self, now: float) -> None:
        if self.state is State.ESTABLISHED:
            self._shared.out.set_routes(())
            self._shared.out.settle()
            self.update()
        self.send(self.notice)
        self._fall(now)
        self._rest(now)

    def _yield(self, now: float) -> None:
        """The other connection stays: nothing has failed."""
        self.send(wire.Notification(Code.CEASE, Cease.COLLISION))
        if self.state is State.ESTABLISHED:
            self._fall(now)
        self._rest(now)

    def _rest(self, _now: float) -> None:
        self._let_go()
        self.retry_at = None

    def _fall(self, now: float) -> None:
        """The connection is over: nothing that hung on it stays, and the next dial waits longer the more often this happens."""
        was_up = self.state is State.ESTABLISHED
        if was_up and now - self._established_at >= STABLE:
            self.failures = self.rival.failures = 0
        self.wake(now)
        if not self._silent or self.failures < SILENT:
            self.failures += 1
        self._let_go()
        if was_up:
            self._shared.out.end()
            self._shared.heard.forget()
        self._shared.failed(self.why, now, was_up=was_up)

    _STEPS: ClassVar[Mapping[Do, Callable[[Connection, float], None]]] = {
        Do.DIAL: _dial,
        Do.LISTEN: _listen,
        Do.GREET: _greet,
        Do.CONFIRM: _confirm,
        Do.ESTABLISH: _establish,
        Do.SEND: _beat,
        Do.HEAR: _restart_hold,
        Do.RESEND: _resend,
        Do.WAIT: _fall,
        Do.FALL: _fall,
        Do.EXPIRE: _expire,
        Do.GIVE_UP: _give_up,
        Do.REFUSE: _refuse,
        Do.ANSWER: _answer,
        Do.RESTART: _answer,
        Do.CEASE: _cease,
        Do.YIELD: _yield,
        Do.REST: _rest,
    }

    def _let_go(self) -> None:
        self._hang_up()
        self.hold_at = self.keepalive_at = self.stuck_at = self.terms = self.ours = self.theirs = None

    def _hang_up(self) -> None:
        if self.linked:
            self.linked = False
            self._shared.events.append(HangUp(self.side, bytes(self.output)))
            self.output.clear()

    def update(self) -> None:
        """UPDATEs for what has changed."""
        for message in self._shared.out.updates():
            self._shared.updates_out += isinstance(message, wire.Update)
            self.send(message)

    def send(self, message: wire.Message) -> None:
        """Put a message behind what is to be sent."""
        self._shared.messages_out += 1
        self.output += wire.encode(message, self._longest())

    def _pause(self) -> float:
        failures = self.failures - (self.side is Side.ACCEPTED)
        return PAUSES[min(failures, len(PAUSES) - 1)] if failures >= 0 else 0.0

    def _jitter(self, seconds: float) -> float:
        """Three quarters to all of it, RFC 4271 section 10."""
        return seconds * (0.75 + 0.25 * self._shared.chance())
