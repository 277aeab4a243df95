"""How often one address may do what costs everybody something."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Scope

_KEPT_ADDRESSES = 10_000


class RateLimit:
    """A token bucket for each address.

    Args:
        burst: how many times at once.
        per_second: how many times a second in the long run.
        clock: monotonic seconds.
    """

    def __init__(
        self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, cost: float = 1.0) -> bool:
        """Whether an address may; if so it is counted."""
        now = self._clock()
        left, then = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._per_second)
        allowed = left >= cost
        self._buckets[address] = (left - cost if allowed else left, now)
        while len(self._buckets) > _KEPT_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


def address_of(scope: Scope, proxies: int) -> str:
    """The address that a request comes from.

    Args:
        scope: of the request.
        proxies: how many proxies stand in front of the app.  Each appends the address that it was
            called from to `X-Forwarded-For`; what stands before those is the client's word.
    """
    client = scope.get("client")
    direct = str(client[0]) if client else ""
    if not proxies:
        return direct
    named = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    hops = [hop.strip() for hop in named.decode("latin-1").split(",") if hop.strip()]
    return hops[-proxies][:64] if len(hops) >= proxies else direct


def is_loopback(address: str) -> bool:
    """Whether an address is this machine: a proxy that was not named, or the operator."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
