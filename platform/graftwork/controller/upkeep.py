"""When what was made is brought to the cluster again, although nothing seems to have changed. Pure.

Somebody may have deleted or changed it. Nothing is kept between two looks, so the time decides: an object is due in one
window of each period, another one for each object. Applying what is there already changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from graftwork.controller import names

PERIOD_S: Final = 600.0
_LATE_S = 5.0


def is_due(now: datetime, uid: str, *, look_s: float) -> bool:
    """Whether a look at this time brings all that belongs to an object.

    Args:
        now: the time.
        uid: of the object.
        look_s: longest time between two looks at it; one of them falls into the window.
    """
    shift_s = int(names.digest_of(uid), 16) % int(PERIOD_S)
    return (now.timestamp() + shift_s) % PERIOD_S < look_s + _LATE_S
