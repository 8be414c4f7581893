"""A terminal as a screen: painted whole, keys read one by one, and left as it was however the program ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterable
from types import FrameType
from typing import Any, NoReturn, Self

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"  # the other screen, no cursor (xterm's ctlseqs)
_LEAVE = "\x1b[?25h\x1b[?1049l"
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_NAMES = {"[A": "up", "OA": "up", "[B": "down", "OB": "down", "[5~": "page up", "[6~": "page down"}
_NAMES |= {"[H": "home", "OH": "home", "[1~": "home", "[F": "end", "OF": "end", "[4~": "end"}
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """For as long as it is entered. Ctrl-C is a key like others, Ctrl-Z stops as usual."""

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._keys: deque[str] = deque()
        self._before: dict[int, Any] = {}
        self._mode: list[Any] = []
        self._wakes: tuple[int, int] = (-1, -1)
        self._woken = -1

    def __enter__(self) -> Self:
        self._mode = termios.tcgetattr(self._in)
        self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a signal ends a wait for keys
        self._woken = signal.set_wakeup_fd(self._wakes[1], warn_on_full_buffer=False)
        handlers = {signal.SIGWINCH: self._resized, signal.SIGTSTP: self._stop} | dict.fromkeys(_ENDS, self._end)
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        for descriptor in self._wakes:
            os.close(descriptor)

    def size(self) -> tuple[int, int]:
        """Columns and rows; a terminal that does not know has 80 and 24."""
        columns, rows = os.get_terminal_size(self._out)
        return columns or 80, rows or 24

    def draw(self, lines: Iterable[str]) -> None:
        """Paint these lines over what is there; no longer than the screen is wide, nor more than it is high."""
        _, rows = self.size()
        shown = [f"{line}\x1b[K" for line in list(lines)[:rows]]
        self._write("\x1b[H" + "\r\n".join(shown) + "\x1b[J")

    def key(self, within: float) -> str:
        """The next key, "resize" if the screen has another size, or "" if nothing comes in so many seconds."""
        if not self._keys:
            ready, _, _ = select.select([self._in, self._wakes[0]], [], [], within)
            if self._wakes[0] in ready:
                os.read(self._wakes[0], 4096)
                return "resize"
            if self._in in ready:
                text = os.read(self._in, 256).decode(errors="replace")
                if not text:  # the terminal is gone
                    return "q"
                self._keys.extend(_NAMES.get(key[1:], key) for key in _KEY.findall(text))
        return self._keys.popleft() if self._keys else ""

    def _take(self) -> None:
        tty.setcbreak(self._in)
        mode = termios.tcgetattr(self._in)
        mode[6][termios.VINTR] = b"\0"  # Ctrl-C comes as a key
        termios.tcsetattr(self._in, termios.TCSADRAIN, mode)
        self._write(_ENTER)

    def _give_back(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            self._write(_LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._mode)

    def _write(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._out, data) :]

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        """The wait for a key has ended by it."""

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the shell brings us back
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()

    def _end(self, number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)
