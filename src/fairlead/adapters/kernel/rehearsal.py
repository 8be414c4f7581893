"""Would this version's programs load? Asked before it takes over, of the very tables that they would use."""

from __future__ import annotations

from fairlead._native import layout_hash
from fairlead.adapters.kernel import generation, tables
from fairlead.adapters.kernel.pins import Places
from fairlead.adapters.kernel.sources import Sources
from fairlead.model import Keys


def rehearse(bpffs: str, keys: Keys, probe_mark: int) -> None:
    """Load every program against the pinned tables and let it go again: nothing is pinned, attached or changed.

    KernelError, VerifierError or Refused if that does not work. Tables that are not there, or of another layout, say nothing.
    """
    places = Places(bpffs)
    stored = tables.stored_geometry(places.tables(layout_hash()), keys.fingerprint)
    if stored is None:
        return
    found = tables.adopt(places, stored)
    try:
        generation.rehearse(found, generation.options(stored, keys, probe_mark, Sources(places, found).asked()))
    finally:
        found.close()
