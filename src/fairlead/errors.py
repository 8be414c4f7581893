"""What can go wrong, as one tree.

    FairleadError
    ├── ConfigError      the operator's file; carries every problem at once
    ├── Refused          a precondition of the machine is not met; nothing was changed        (exit 1)
    ├── UsageError       the command's own words are off                                      (exit 2)
    ├── KernelError      a kernel object could not be made, read or written
    │   └── VerifierError    the kernel would not load a program; its own last words are kept
    └── ProtocolError    a peer broke a protocol; carries what the wire needs as an answer

Anything else is a bug: it ends the daemon, and the pinned data plane forwards on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.model import Problem


class FairleadError(Exception):
    """The root: its text is fit to be shown to an operator as it is."""


class ConfigError(FairleadError):
    """The configuration cannot be used; `problems` holds all of them, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class Refused(FairleadError):
    """The machine is not fit: each reason is a sentence, with the command that mends it where there is one."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


class UsageError(FairleadError):
    """The command was called wrongly."""


class KernelError(FairleadError):
    """`operation` on `what` failed with `errno` (positive, 0 where there is none); `says` holds libbpf's own words."""

    def __init__(self, operation: str, what: str, errno: int, says: str = "") -> None:
        self.operation = operation
        self.what = what
        self.errno = errno
        self.says = says.strip()
        text = f"{operation} {what}: error {errno}" if errno else f"{operation} {what}"
        super().__init__(f"{text}: {self.says}" if self.says else text)


class VerifierError(KernelError):
    """The verifier's verdict: `says` is the end of its log, `lines` how long the log was."""

    def __init__(self, what: str, errno: int, log: str) -> None:
        kept = [line for line in log.splitlines() if line.strip()]
        self.lines = len(kept)
        super().__init__("load", what, errno, "\n".join(kept[-6:]))


class ProtocolError(FairleadError):
    """A peer's message is wrong; `code`, `subcode` and `data` are the NOTIFICATION to answer with (RFC 4271 section 6)."""

    def __init__(self, says: str, code: int, subcode: int = 0, data: bytes = b"") -> None:
        self.code = code
        self.subcode = subcode
        self.data = data
        super().__init__(says)
