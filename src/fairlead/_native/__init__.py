"""The C extension and the small Python modules in front of it: row layouts, table memory, Maglev, flow scans, libbpf."""

from __future__ import annotations

from fairlead._native.layout import layout, layout_hash

__all__ = ["layout", "layout_hash"]
