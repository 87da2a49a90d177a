"""How sure a share measured on few examples is. Pure."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

# Three standard errors: by chance alone in fewer than 3 of 1,000 comparisons.
SIGNIFICANT_ERRORS: Final = 3.0
CONFIDENCE: Final = 0.95
_ROUNDING: Final = 1e-9


def standard_error(share: float, examples: int) -> float:
    """Standard error of a share of `examples` independent draws; 0 when their number is unknown (0).

    The share is first drawn towards one half by two examples either way (Agresti & Coull 1998), because a share of
    0 or 1 seen on few examples is not certain.
    """
    if not examples:
        return 0.0
    # Scores such as R2 may be below 0.
    share = min(1.0, max(0.0, share))
    drawn = (share * examples + 2) / (examples + 4)
    return math.sqrt(drawn * (1 - drawn) / (examples + 4))


def wilson_interval(share: float, examples: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Confidence interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), 209-212.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / examples
    centre = (share + z * z / (2 * examples)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / examples + z * z / (4 * examples * examples))
    return max(0.0, centre - half), min(1.0, centre + half)


def most_unseen(examples: int, *, confidence: float = CONFIDENCE) -> float:
    """Largest share of all examples that is wrong, by Wilson's interval, where none of so many is."""
    return 1.0 - wilson_interval(1.0, examples, confidence=confidence)[0]


def fewest_examples(share: float, *, confidence: float = CONFIDENCE) -> int:
    """On how many examples, all answered right, Wilson's interval begins at a share below 1 or above it."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return max(1, math.ceil(z * z * share / (1.0 - share) - _ROUNDING))


def most_discordant(pairs: int, *, confidence: float = CONFIDENCE) -> float:
    """Upper confidence bound of the share of examples that two models answer differently, where none of so many was.

    Source: Clopper & Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 26 (1934), 404-413, for no hit.
    """
    return float(1.0 - (1.0 - confidence) ** (1.0 / pairs))


def chance_of_at_most(hits: int, examples: int, share: float) -> float:
    """Chance of so few hits or fewer when each of `examples` independent draws hits with chance `share`.

    The exact binomial tail: approximations convict too easily when there are only a few examples.
    """
    if share <= 0.0 or hits >= examples:
        return 1.0
    if share >= 1.0:
        return 0.0
    log_hit, log_miss = math.log(share), math.log1p(-share)
    whole = math.lgamma(examples + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(examples - k + 1) + k * log_hit + (examples - k) * log_miss)
        for k in range(hits + 1)
    )


def beyond_chance(accuracy: float, chance: float) -> float:
    """Accuracy rescaled so that 0 is what guessing reaches and 1 is perfect (Cohen's kappa with known chance)."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0
