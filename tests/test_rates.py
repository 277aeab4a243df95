"""Limits for each address, and which address a request comes from."""

from __future__ import annotations

import pytest

from maml.demo.rates import RateLimit, address_of, is_loopback


def test_a_burst_is_allowed_and_then_so_many_a_second() -> None:
    now = [0.0]
    limit = RateLimit(burst=3, per_second=2, clock=lambda: now[0])
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b")
    now[0] = 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [limit.allows("a", cost=2.0) for _ in range(2)] == [True, False]


def test_addresses_that_are_silent_are_forgotten() -> None:
    limit = RateLimit(burst=1, per_second=0)
    for k in range(10_001):
        assert limit.allows(str(k))
    assert limit.allows("0") and not limit.allows("10000")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "10.0.0.1"),  # anybody may send the header
        (1, "", "10.0.0.1"),
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "forged, 198.51.100.7", "198.51.100.7"),
        (2, "forged, 198.51.100.7, 192.0.2.1", "198.51.100.7"),
        (2, "192.0.2.1", "10.0.0.1"),
    ],
)
def test_the_address_is_the_one_that_the_last_trusted_proxy_saw(
    proxies: int, forwarded: str, address: str
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"client": ("10.0.0.1", 5000), "headers": headers}
    assert address_of(scope, proxies) == address
    assert not is_loopback(address)


def test_this_machine_is_recognised() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "10.0.0.1", "", "forged")] == [
        True,
        True,
        False,
        False,
        False,
    ]
