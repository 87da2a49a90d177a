"""When what was made is brought to the cluster again, although nothing seems to have changed. Pure.

Somebody may have deleted or changed it. Nothing is kept between two looks, so the time decides: an object is due in one
window of each period, another one for each object. Applying what is there already changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from graftwork.controller import names

_LATE_S: Final = 5.0
# Of all looks at an object, one in so many brings everything.
_SHARE: Final = 12


def is_due(now: datetime, uid: str, *, look_s: float) -> bool:
    """Whether a look at this time brings all that belongs to an object.

    Args:
        now: the time.
        uid: of the object.
        look_s: longest time between two looks at it; one of them falls into the window.
    """
    window_s = look_s + _LATE_S
    period_s = _SHARE * window_s
    shift_s = int(names.digest_of(uid), 16) % period_s
    return (now.timestamp() + shift_s) % period_s < window_s
