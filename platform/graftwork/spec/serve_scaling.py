"""What Ray Serve is told about the number of an endpoint's replicas and of losing one, here and on a cluster. Pure."""

from __future__ import annotations

from typing import Any, Final

from graftwork.spec.inference_endpoint import Autoscaling

# Requests in progress are averaged over so long.
_LOOK_BACK_S = 11.0
# How often replicas, and whoever holds requests while there are none, tell of their load. Serve's default is 10 s; the
# environment variables that it names as this field's successors are read by nothing in Ray 2.60.
_TELL_EVERY_S = 1.0
HEALTH_CHECK_PERIOD_S: Final = 1
"""How soon Serve misses a replica that died; it asks each, and is not told."""
POLICY: Final = "graftwork_serving.scaling_policy:ScalingPolicy"


def scaling_options(scaling: Autoscaling, *, endpoint: str, folder: str | None) -> dict[str, Any]:
    """Options of a Serve deployment.

    Args:
        scaling: the spec's section.
        endpoint: its name.
        folder: where replicas share their metrics with Serve's controller; None where they are on other machines.
    """
    if scaling.min_replicas == scaling.max_replicas:
        return {"num_replicas": scaling.min_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            # Even what sleeps while idle is started once, so that a model that does not work is found out at once.
            "initial_replicas": max(1, scaling.min_replicas),
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay_seconds,
            "downscale_delay_s": scaling.downscale_delay_seconds,
            "metrics_interval_s": _TELL_EVERY_S,
            "look_back_period_s": _LOOK_BACK_S,
            "policy": {
                "policy_function": POLICY,
                "policy_kwargs": {"endpoint": endpoint, **({} if folder is None else {"folder": folder})},
            },
        }
    }
