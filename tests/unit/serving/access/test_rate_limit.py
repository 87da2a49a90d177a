from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork_serving.access.callers import Caller, Rate, RefusedError
from graftwork_serving.access.rate_limit import RateLimiter, take


@given(
    gaps_s=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    per_second=st.floats(0.2, 50),
    burst=st.integers(1, 20),
    start=st.floats(0, 1e6),
)
def test_it_lets_through_what_a_token_bucket_does(
    gaps_s: list[float], per_second: float, burst: int, start: float
) -> None:
    """For any requests at any times: the same as counting tokens that drip into a bucket."""
    rate = Rate(per_second=per_second, burst=burst)
    tokens, now, full_at = float(burst), start, 0.0
    for gap_s in gaps_s:
        now += gap_s
        tokens = min(burst, tokens + gap_s * per_second)
        admission = take(full_at, now, rate)
        if abs(tokens - 1) > 1e-6:  # where rounding does not decide
            assert (admission.wait_s is None) == (tokens >= 1)
        if admission.wait_s is None:
            tokens -= 1
            full_at = admission.full_at
        else:
            assert admission.wait_s == pytest.approx((1 - tokens) / per_second, abs=1e-4)


def test_replicas_share_a_callers_bucket(tmp_path: Path) -> None:
    """Two limiters on one folder let through as much as one; another caller has a bucket of their own."""
    now = 100.0
    limiters = [RateLimiter(tmp_path / "rates", clock=lambda: now) for _ in range(2)]
    ann, ben = (Caller(identity=name, rate=Rate(per_second=0.5, burst=3)) for name in ("ann", "ben"))
    for index in range(3):
        limiters[index % 2].check(ann)
    for limiter in limiters:
        with pytest.raises(RefusedError) as error:
            limiter.check(ann)
        assert (error.value.status, error.value.retry_after_s) == (429, 2)
    limiters[0].check(ben)
    now += 2
    limiters[1].check(ann)
    with pytest.raises(RefusedError):
        limiters[0].check(ann)


def test_a_damaged_bucket_is_full_again_soon(tmp_path: Path) -> None:
    """A moment far away, as after a restart of the machine, holds nobody up for longer than an empty bucket does."""
    now = 100.0
    limiter = RateLimiter(tmp_path, clock=lambda: now)
    (tmp_path / "ann").write_bytes(b"\0\0\0\0\0\0\xf0\x7e")
    caller = Caller(identity="ann", rate=Rate(per_second=1, burst=2))
    with pytest.raises(RefusedError):
        limiter.check(caller)
    now += 2
    limiter.check(caller)
