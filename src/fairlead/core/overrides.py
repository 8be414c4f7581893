"""What operators said at a shell, laid over the configuration: the last word for one service wins over one for all services."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fairlead.core.words import date
from fairlead.errors import Refused
from fairlead.model import Address, AdminState, Backend, Config, Drained, Override, OverrideStatus, Service, ServiceKey

_WORDS = {AdminState.ACTIVE: "enabled", AdminState.DRAIN: "drain", AdminState.DISABLED: "disabled"}


def overlaid(config: Config, overrides: Iterable[Override]) -> Config:
    """The configuration as it is to be worked by; the same object where nothing of it is overridden."""
    by_backend: dict[Address, list[Override]] = {}
    for override in overrides:
        by_backend.setdefault(override.backend, []).append(override)
    if not by_backend:
        return config
    services = tuple(_service(service, by_backend) for service in config.services)
    same = all(a is b for a, b in zip(services, config.services, strict=True))
    return config if same else replace(config, services=services)


def _service(service: Service, overrides: dict[Address, list[Override]]) -> Service:
    if not any(b.address in overrides for b in service.backends):
        return service
    backends = tuple(_backend(b, service.key, overrides.get(b.address, ())) for b in service.backends)
    return replace(service, backends=backends) if backends != service.backends else service


def _backend(backend: Backend, key: ServiceKey, overrides: Iterable[Override]) -> Backend:
    """What is said for this service over what is said for all of them; both sign it where both have a part."""
    found = {o.service: o for o in overrides if o.service in {None, key}}
    if not found:
        return backend
    general, own = found.get(None), found.get(key)
    whole = _joined(general, own) if general is not None and own is not None else own or general
    assert whole is not None
    state = backend.state if whole.state is None else whole.state
    weight = backend.weight if whole.weight is None else whole.weight
    return replace(backend, state=state, weight=weight, override=whole)


def _joined(general: Override, own: Override) -> Override:
    if (general.state is None or own.state is not None) and (general.weight is None or own.weight is not None):
        return own
    return replace(
        own,
        state=general.state if own.state is None else own.state,
        weight=general.weight if own.weight is None else own.weight,
        who=own.who if own.who == general.who else f"{general.who} and {own.who}",
        at=max(own.at, general.at),
    )


def says(override: Override) -> str:
    """`drain`, `disabled`, `enabled`, `weight 10`, `drain, weight 10`."""
    words = [_WORDS[override.state]] if override.state is not None else []
    words += [f"weight {override.weight}"] if override.weight is not None else []
    return ", ".join(words)


def described(override: Override) -> str:
    """`drain by root since 2026-11-23 12:04:31`."""
    return f"{says(override)} by {override.who} since {date(override.at)}"


def away(drained: Drained) -> str:
    """`drained by root since 2026-11-23 12:04:31`: why this balancer announces nothing."""
    return f"drained by {drained.who} since {date(drained.at)}"


def statuses(config: Config, overrides: Iterable[Override]) -> tuple[OverrideStatus, ...]:
    """All of them as status shows them; `effective` says that the configuration has such a backend."""
    there = {(b.address, s.key) for s in config.services for b in s.backends}
    anywhere = {address for address, _ in there}
    return tuple(
        OverrideStatus(
            backend=str(o.backend),
            service="" if o.service is None else str(o.service),
            says=says(o),
            who=o.who,
            at=o.at,
            effective=o.backend in anywhere if o.service is None else (o.backend, o.service) in there,
        )
        for o in overrides
    )


# ------------------------------------------------------------------------------------------------------------- what is said anew


def told(overrides: Sequence[Override], new: Override) -> tuple[Override, ...]:
    """With one more: it adds to what was said of the same backend and service, and what is None in it stays as it was."""
    before = next((o for o in overrides if (o.backend, o.service) == (new.backend, new.service)), None)
    if before is not None:
        new = replace(
            new,
            state=before.state if new.state is None else new.state,
            weight=before.weight if new.weight is None else new.weight,
        )
    return (*(o for o in overrides if o is not before), new)


def enabled(config: Config, overrides: Sequence[Override], new: Override) -> tuple[Override, ...]:
    """The backend is to be active: without a word on its state where the file says so, else by an override.

    What was said of single services goes too when it is for all of them.
    """
    kept: list[Override] = []
    for each in overrides:
        hit = each.backend == new.backend and new.service in {None, each.service}
        left = replace(each, state=None) if hit else each
        if left.state is not None or left.weight is not None:
            kept.append(left)
    beneath = overlaid(config, kept)
    states = {b.state for s in beneath.services for b in s.backends if b.address == new.backend and new.service in {None, s.key}}
    active = replace(new, state=AdminState.ACTIVE, weight=None)
    return tuple(kept) if states <= {AdminState.ACTIVE} else told(kept, active)


def cleared(
    overrides: Sequence[Override], backend: Address | None, service: ServiceKey | None
) -> tuple[tuple[Override, ...], tuple[Override, ...]]:
    """(left, gone): None for a backend is every one, None for a service is all of the backend's."""
    gone = tuple(o for o in overrides if backend in {None, o.backend} and service in {None, o.service})
    return tuple(o for o in overrides if o not in gone), gone


# ----------------------------------------------------------------------------------------------------------- what operators write


def named_service(config: Config, text: str) -> ServiceKey:
    """The service of `192.0.2.10:80/tcp`, of that without the protocol, or of its name where only one has it; Refused."""
    keys = [s.key for s in config.services]
    found = [k for k in keys if text in {str(k), str(k).rpartition("/")[0]}] or [s.key for s in config.services if s.name == text]
    if len(found) == 1:
        return found[0]
    there = ", ".join(str(k) for k in (found or keys)[:10])
    raise Refused([f"{text} could be several services: {there}" if found else f"there is no service {text}; there are: {there}"])


def require_backend(config: Config, backend: Address, service: ServiceKey | None) -> None:
    """Refused where the configuration has no such backend."""
    services = [s for s in config.services if service in {None, s.key}]
    there = sorted({b.address for s in services for b in s.backends}, key=lambda a: (a.version, int(a)))
    if backend not in there:
        where = f"for {service}" if service is not None else "in the configuration"
        listed = ", ".join(map(str, there[:10])) + (" ..." if len(there) > 10 else "")
        raise Refused([f"there is no backend {backend} {where}; there are: {listed}"])
