"""One run of one check, whatever its type: its socket, its deadline, its result."""

from __future__ import annotations

import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from fairlead.adapters.probes.engine import EDGES, Engine
from fairlead.adapters.probes.words import Failed, after, words
from fairlead.model import Address, Check, ProbeResult, ProbeTarget

SO_MARK = 36  # asm-generic/socket.h
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect, by the whole 4-tuple
_RESET = struct.pack("ii", 1, 0)  # struct linger: closing sends a reset, and nothing lingers on either side


class Ask:
    """A target made ready to be asked again and again: addresses and mark as sockets want them."""

    __slots__ = ("_question", "check", "family", "mark", "source", "target", "to")

    def __init__(self, target: ProbeTarget) -> None:
        self.target = target
        self.check: Check = target.check
        self.family = family(target.vip)
        self.to = (str(target.vip), target.check.port)
        self.mark = struct.pack("=I", target.mark)  # as int it would be signed
        same = target.source is not None and target.source.version == target.vip.version
        self.source = (str(target.source), 0) if same else None
        self._question: bytes | None = None

    def question(self, make: Callable[[Check, Address], bytes]) -> bytes:
        """The bytes that ask, made once."""
        if self._question is None:
            self._question = make(self.check, self.target.vip)
        return self._question

    def socket(self, kind: int) -> socket.socket:
        """A non-blocking socket whose packets carry the mark and the source; OSError where that is not permitted."""
        made = socket.socket(self.family, kind | socket.SOCK_NONBLOCK)
        try:
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if self.target.mark:
                made.setsockopt(socket.SOL_SOCKET, SO_MARK, self.mark)
            if self.source is not None:
                made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                made.bind(self.source)
        except OSError:
            made.close()
            raise
        return made


def family(address: Address) -> int:
    """The address family as sockets want it."""
    return int(socket.AF_INET if address.version == 4 else socket.AF_INET6)


Ended = Callable[[ProbeResult, bool], None]


class Attempt(ABC):
    """`ended` is called once, with the result and whether it failed because nothing at all came back; never after `abandon`."""

    __slots__ = ("_ended", "_held", "ask", "began", "engine", "over", "phase", "silent")

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        self.engine = engine
        self.ask = ask
        self.over = False
        self.phase = "no answer"
        self.silent = True
        self._ended = ended
        self._held = engine.held
        self.began = time.monotonic()

    def begin(self) -> None:
        """Ask. The result may be there before this returns."""
        self._carry_on(self.start)
        if not self.over:
            self.engine.at(self.began + self.ask.check.timeout, self)

    def due(self) -> None:
        """Out of time; but what the loop was held up for does not count."""
        more = self.engine.held - self._held
        if self.over:
            return
        if more:
            self._held += more
            self.engine.at(time.monotonic() + more, self)
        else:
            self._end(False, f"{self.phase} within {self.ask.check.timeout:g} s", self.silent)

    def abandon(self) -> None:
        """No result is wanted any more."""
        if not self.over:
            self.over = True
            self.release()

    def heard(self, phase: str) -> None:
        """Something came back; if no more comes, that is what will be said."""
        self.phase, self.silent = phase, False

    def passed(self, says: str) -> None:
        """The check passes."""
        self._end(True, f"{says} {after(time.monotonic() - self.began)}")

    def _carry_on(self, step: Callable[..., None], *args: object) -> None:
        try:
            step(*args)
        except BlockingIOError:
            pass
        except Failed as e:
            self._fail(str(e))
        except OSError as e:
            self._fail(words(e))
        except BaseException:  # a bug: the loop is told, but the slot does not go with it
            self._fail("the probe broke")
            raise

    def _fail(self, says: str) -> None:
        self._end(False, f"{says} {after(time.monotonic() - self.began)}")

    def _end(self, passed: bool, says: str, silent: bool = False) -> None:
        if not self.over:
            self.over = True
            self.release()
            self._ended(ProbeResult(passed, says, time.monotonic() - self.began, time.time()), silent)

    @abstractmethod
    def start(self) -> None:
        """Ask; OSError and Failed end the run."""

    @abstractmethod
    def release(self) -> None:
        """Close what is open."""


class SocketAttempt(Attempt):
    """A run with a socket of its own."""

    __slots__ = ("socket",)
    kind = socket.SOCK_STREAM
    events = EDGES

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self.socket: socket.socket | None = None

    def start(self) -> None:
        """Connect to the VIP."""
        self.socket = made = self.ask.socket(self.kind)
        self.engine.watch(made.fileno(), self, self.events)
        made.connect(self.ask.to)

    def ready(self, mask: int) -> None:
        """From the engine."""
        if not self.over:
            self._carry_on(self.go_on, mask)

    @abstractmethod
    def go_on(self, mask: int) -> None:
        """Something happened to the socket; OSError and Failed end the run, BlockingIOError waits for more."""

    def release(self) -> None:
        """Close the socket."""
        if self.socket is not None:
            self.engine.forget(self.socket.fileno())
            self.socket.close()
            self.socket = None
