"""What operators said over the configuration, in a file that outlives the daemon: written whole, or not at all.

Contents first, synchronised, then the name, then the directory: a crash at any instant leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from fairlead.errors import KernelError
from fairlead.model import AdminState, Block, Drained, Override, Protocol, ServiceKey

FILE, BLOCKS = "overrides.json", "blocks.json"
_FORMAT = 1


class Overrides:
    """The file in one directory. Blocking; KernelError names the file and what the system says of it."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    @property
    def path(self) -> Path:
        """The file's path."""
        return self._directory / FILE

    def load(self) -> tuple[Override, ...]:
        """What was said of backends, nothing where there is no file."""
        return self.load_all()[0]

    def load_all(self) -> tuple[tuple[Override, ...], Drained | None]:
        """What was said of backends, and who sent this balancer away from its routers, if somebody did."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise KernelError("read", str(self.path), 0, f"it is of format {found['format']}, this Fairlead reads {_FORMAT}")
            drained = found.get("drained")
            away = None if drained is None else Drained(str(drained["who"]), float(drained["at"]))
            return tuple(_read(each) for each in found["overrides"]), away
        except FileNotFoundError:
            return (), None
        except OSError as error:
            raise KernelError("read", str(self.path), error.errno or 0, error.strerror or "") from error
        except (ValueError, KeyError, TypeError) as error:
            raise KernelError("read", str(self.path), 0, f"it is damaged ({error!r}): remove it, and say them again") from error

    def save(self, overrides: Iterable[Override], drained: Drained | None = None) -> None:
        """These and no others from now on; on KernelError the file is as it was."""
        away = None if drained is None else {"who": drained.who, "at": drained.at}
        held = {"format": _FORMAT, "overrides": [_written(each) for each in overrides], "drained": away}
        _write(self.path, held)


class Blocks:
    """The sources that operators keep out, in a file of the same directory; errors likewise."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / BLOCKS

    def load(self) -> tuple[Block, ...]:
        """What was said, nothing where there is no file."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise KernelError("read", str(self.path), 0, f"it is of format {found['format']}, this Fairlead reads {_FORMAT}")
            return tuple(
                Block(ip_network(b["prefix"]), str(b["who"]), float(b["since"]), float(b["until"]), str(b["why"]))
                for b in found["blocks"]
            )
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KernelError("read", str(self.path), error.errno or 0, error.strerror or "") from error
        except (ValueError, KeyError, TypeError) as error:
            raise KernelError("read", str(self.path), 0, f"it is damaged ({error!r}): remove it, and say them again") from error

    def save(self, blocks: Iterable[Block]) -> None:
        """These and no others from now on; on KernelError the file is as it was."""
        written = [{"prefix": str(b.prefix), "who": b.who, "since": b.since, "until": b.until, "why": b.why} for b in blocks]
        _write(self.path, {"format": _FORMAT, "blocks": written})


def _write(path: Path, held: object) -> None:
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(held, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KernelError("write", str(path), error.errno or 0, error.strerror or "") from error


def _written(o: Override) -> dict[str, object]:
    service = None if o.service is None else [str(o.service.vip), o.service.port, str(o.service.protocol)]
    state = None if o.state is None else o.state.value
    return {"backend": str(o.backend), "service": service, "state": state, "weight": o.weight, "who": o.who, "at": o.at}


def _read(o: dict[str, Any]) -> Override:
    service = None
    if o["service"] is not None:
        vip, port, protocol = o["service"]
        service = ServiceKey(ip_address(vip), int(port), Protocol[protocol.upper()])
    state = None if o["state"] is None else AdminState(o["state"])
    weight = None if o["weight"] is None else int(o["weight"])
    return Override(ip_address(o["backend"]), service, state, weight, str(o["who"]), float(o["at"]))
