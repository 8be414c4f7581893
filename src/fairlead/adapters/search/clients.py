"""The official clients of Elasticsearch and OpenSearch behind one face. They are optional; all here is blocking.

Both are told not to try again by themselves but at the other addresses of the same cluster: what is sent again, and when, is
decided in `sender`, which knows what must not be lost.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import warnings
from typing import Any, Protocol

from fairlead.model import Search

WITHIN = 10.0  # seconds for one request
_PACKAGES = {"elasticsearch": "elasticsearch", "opensearch": "opensearchpy"}
_TOO_LARGE = 413


class Away(Exception):
    """The cluster did not take the request; nobody knows whether it acted on it."""


class TooLarge(Exception):
    """The cluster takes no requests of this size."""


class Cluster(Protocol):
    """One cluster, at any of its addresses."""

    def put_template(self, name: str, body: dict[str, object]) -> None:
        """Put an index template. Away."""

    def bulk(self, stream: str, body: bytes) -> object:
        """One bulk request; the answer as it was decoded. Away or TooLarge."""

    def close(self) -> None:
        """Hang up."""


def cluster(said: Search) -> Cluster:
    """The client for a cluster; Away if its package is missing or too old, or a file cannot be read."""
    package = _PACKAGES[said.kind]
    _hush()
    try:
        return _Elastic(said) if said.kind == "elasticsearch" else _Open(said)
    except ImportError:
        raise Away(f"the package {package} is not installed: pip install 'fairlead[{said.kind}]'") from None
    except OSError as e:
        raise Away(f"cannot read {e.filename}: {e.strerror}") from None
    except (TypeError, ValueError) as e:
        raise Away(f"{package} does not take this: {e}") from None


def _line(path: str | None) -> str:
    return pathlib.Path(path).read_text(encoding="utf-8").strip() if path else ""


def _login(said: Search) -> tuple[str, str] | None:
    return (said.username, said.password or _line(said.password_file)) if said.username else None


class _Client:
    """What both have in common; `_away` are the errors of the client that is `_client`."""

    _away: tuple[type[Exception], ...]
    _client: Any

    def _ask(self, what: Any, **words: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the cluster's deprecations are not for the daemon's output
                return what(**words)
        except self._away as e:
            if getattr(e, "status_code", 0) == _TOO_LARGE:
                raise TooLarge from None
            raise Away(_said(e)) from None

    def close(self) -> None:
        with contextlib.suppress(*self._away):
            self._client.close()


class _Elastic(_Client):
    def __init__(self, said: Search) -> None:
        import elasticsearch

        options: dict[str, Any] = {"basic_auth": login} if (login := _login(said)) else {}
        if said.api_key_file:
            options["api_key"] = _line(said.api_key_file)
        if said.ca_file:
            options["ca_certs"] = said.ca_file
            pathlib.Path(said.ca_file).read_bytes()
        self._away = (elasticsearch.TransportError, elasticsearch.ApiError)
        self._client = elasticsearch.Elasticsearch(
            [_with_port(url) for url in said.addresses],
            request_timeout=WITHIN,
            max_retries=len(said.addresses) - 1,
            retry_on_timeout=len(said.addresses) > 1,
            retry_on_status=(502, 503, 504),
            http_compress=True,
            **options,
        )

    def put_template(self, name: str, body: dict[str, object]) -> None:
        meta = body.pop("_meta")
        self._ask(self._client.indices.put_index_template, name=name, meta=meta, **body)

    def bulk(self, stream: str, body: bytes) -> object:
        answer = self._ask(self._client.bulk, index=stream, operations=[body])
        return getattr(answer, "body", answer)


class _Open(_Client):
    def __init__(self, said: Search) -> None:
        import opensearchpy

        options: dict[str, Any] = {"http_auth": login} if (login := _login(said)) else {}
        if said.ca_file:
            options["ca_certs"] = said.ca_file
            pathlib.Path(said.ca_file).read_bytes()
        self._away = (opensearchpy.exceptions.OpenSearchException,)
        self._client = opensearchpy.OpenSearch(
            [_with_port(url) for url in said.addresses],
            timeout=WITHIN,
            max_retries=len(said.addresses) - 1,
            retry_on_timeout=len(said.addresses) > 1,
            retry_on_status=(502, 503, 504),
            http_compress=True,
            **options,
        )

    def put_template(self, name: str, body: dict[str, object]) -> None:
        self._ask(self._client.indices.put_index_template, name=name, body=body)

    def bulk(self, stream: str, body: bytes) -> object:
        return self._ask(self._client.bulk, index=stream, body=body)


def _with_port(url: str) -> str:
    """The clients want a port in every URL; without one it is that of the scheme, as everywhere."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not host.rpartition("]")[2].count(":"):
        host += ":443" if scheme == "https" else ":80"
    return f"{scheme}://{host}{slash}{path}"


def _said(error: Exception) -> str:
    """One line, bounded; where a client says no more than "TLS error", what it made that of."""
    behind = error.__cause__ or error.__context__
    more = [str(behind)] if behind is not None and str(behind) not in str(error) else []
    return " ".join(": ".join([type(error).__name__, str(error), *more]).split())[:300]


def _hush() -> None:
    """The clients' own log: what it says, events say; without this it would go to standard error as it stands."""
    for name in ("elastic_transport", "elasticsearch", "opensearch", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
