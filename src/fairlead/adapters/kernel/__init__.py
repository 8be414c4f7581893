"""The kernel's side of Fairlead: pinned tables, programs and links. The only adapter that touches libbpf; all of it blocks."""

from __future__ import annotations

from fairlead.adapters.kernel.detach import detach_all
from fairlead.adapters.kernel.kernel import Kernel
from fairlead.adapters.kernel.rehearsal import rehearse
from fairlead.adapters.kernel.twin import LARGEST

__all__ = ["LARGEST", "Kernel", "detach_all", "rehearse"]
