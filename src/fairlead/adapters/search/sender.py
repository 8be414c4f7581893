"""The thread that sends: one request at a time, the oldest events first, again and again until each is taken or refused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from fairlead.adapters.search.clients import Away, Cluster, TooLarge, cluster
from fairlead.adapters.search.store import EVENTS, Store
from fairlead.model import Search
from fairlead.records.bulk import Verdicts, judge
from fairlead.records.ecs import template

GATHER = 0.5  # seconds for which events are gathered before they are sent
PAUSE = 0.5  # seconds after the first failure, twice as long after each further one, up to
LONGEST_PAUSE = 30.0
TEMPLATE = "fairlead"
GIVE_UP = 40  # answers in a row that one event is not taken now, while the cluster answers: some twenty minutes
TELL_EVERY = 60.0  # seconds between two complaints that events are refused


class Sender(threading.Thread):
    """Sends what the store holds. `tell` is called in this thread: a sentence when trouble begins, None when it ends."""

    def __init__(self, said: Search, store: Store, tell: Callable[[str | None, int], None]) -> None:
        super().__init__(name="fairlead-search", daemon=True)
        self.sent = self.refused = 0
        self.error, self.error_at = "", 0.0
        self._said = said
        self._store = store
        self._tell = tell
        self._news = threading.Event()
        self._ending = threading.Event()
        self._client: Cluster | None = None
        self._templated = False
        self._renew = False
        self._most = EVENTS
        self._failures = 0  # in a row
        self._stuck = 0  # answers in a row that took nothing of what they were asked to
        self.troubled = False
        self._complained = -TELL_EVERY

    def news(self) -> None:
        """There is something to send."""
        self._news.set()

    def renew(self, said: Search) -> None:
        """Another way to the cluster, from the next request on."""
        self._said, self._renew = said, True
        self._news.set()

    def end(self) -> None:
        """Send what there is, as long as it is taken, and end."""
        self._ending.set()
        self._news.set()

    def run(self) -> None:
        """Until `end`."""
        self._store.open()
        chance = random.Random()  # noqa: S311 - spreads attempts, keeps no secret
        while True:
            pairs = self._store.take(self._most)
            if pairs and not self._send(pairs):
                if self._ending.is_set():
                    break
                self._wait(min(PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE) * chance.uniform(0.8, 1.2))
            elif not pairs and self._ending.is_set():
                break
            elif self._store.events < EVENTS:
                self._rest()
        if self._client is not None:
            self._client.close()

    def _rest(self) -> None:
        """Until there is something, and then until there is a little more of it."""
        if not self._store.events:
            self._news.wait()
        self._news.clear()
        self._ending.wait(GATHER)

    def _wait(self, pause: float) -> None:
        """Until the next attempt; what comes meanwhile goes to disk, so that nothing depends on our life for long."""
        deadline = time.monotonic() + pause
        while not self._ending.is_set() and not self._renew and (left := deadline - time.monotonic()) > 0:
            self._store.spill(flight=True)
            self._ending.wait(min(left, 1.0))

    # ------------------------------------------------------------------------------------------------------------------ sending

    def _send(self, pairs: list[bytes]) -> bool:
        """One request; whether to go on at once."""
        try:
            answer = self._connected().bulk(self._said.stream, b"".join(pairs))
        except TooLarge:
            return self._too_large(len(pairs))
        except Away as e:
            return self._failed(str(e))
        verdicts = judge(len(pairs), answer)
        if verdicts is None:
            return self._failed("what answers does not speak the bulk protocol")
        return self._judged(len(pairs), verdicts)

    def _judged(self, sent: int, verdicts: Verdicts) -> bool:
        again = verdicts.again
        self._stuck = self._stuck + 1 if len(again) == sent and not verdicts.busy else 0
        if self._stuck >= GIVE_UP:
            self._stuck, again = 0, again[1:]
            self._refuse(1, verdicts.says)
        self._store.settle(sent, again)
        self.sent += verdicts.taken
        if verdicts.refused:
            self._refuse(verdicts.refused, verdicts.says)
        if again:
            return self._failed(verdicts.says)
        self._well()
        return True

    def _connected(self) -> Cluster:
        """The client, made when it is first needed or needed anew; the index template is put before the first event."""
        if self._renew and self._client is not None:
            self._client.close()
            self._client, self._templated = None, False
        self._renew = False
        if self._client is None:
            self._client = cluster(self._said)
        if not self._templated:
            self._put_template(self._client)
        return self._client

    def _put_template(self, client: Cluster) -> None:
        """A cluster that is there but does not let us put it may have been given it by its keeper: said, and gone on."""
        name = f"{TEMPLATE}-{self._said.stream}"
        try:
            client.put_template(name, template(self._said.stream, self._said.kind))
        except TooLarge:
            pass
        except Away as e:
            if "403" not in str(e):
                raise
            self._complain(f"may not put the index template {name}: {e}")
        self._templated = True

    def _too_large(self, count: int) -> bool:
        if count > 1:
            self._most = count // 2
            return True
        self._store.settle(1)
        self._refuse(1, "413: the event is too large")
        return True

    # ------------------------------------------------------------------------------------------------------------------ telling

    def _refuse(self, count: int, says: str) -> None:
        self.refused += count
        self._complain(f"{count} event{'s' * (count != 1)} refused for good: {says}")

    def _complain(self, says: str) -> None:
        self.error, self.error_at = says, time.time()
        if time.monotonic() - self._complained >= TELL_EVERY:
            self._complained = time.monotonic()
            self._tell(says, 0)

    def _failed(self, says: str) -> bool:
        self._failures += 1
        self.error, self.error_at = says, time.time()
        self._store.spill(flight=True)
        if not self.troubled:
            self.troubled = True
            self._tell(says, 0)
        return False

    def _well(self) -> None:
        self._failures = 0
        self._most = min(EVENTS, self._most + max(1, self._most // 8))
        if self.troubled:
            self.troubled = False
            self._tell(None, self._store.events)
