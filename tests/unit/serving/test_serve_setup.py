from __future__ import annotations

import pytest

from graftwork.spec.serve_setup import SERVE_ENVIRONMENT


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own modules
def test_a_proxy_that_starts_slowly_is_not_killed_before_serve_gives_up_on_it() -> None:
    """The controller kills a proxy after three looks in vain; on a busy machine fifteen seconds are soon over."""
    from ray.serve._private.constants import HTTP_PROXY_TIMEOUT, PROXY_HEALTH_CHECK_UNHEALTHY_THRESHOLD

    patience_s = float(SERVE_ENVIRONMENT["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"])
    assert patience_s * PROXY_HEALTH_CHECK_UNHEALTHY_THRESHOLD >= HTTP_PROXY_TIMEOUT
