"""`python -m tests.e2e.crash_operator POINT`: the operator, which kills itself at a point of its work.

The points are those of `crash_lives`. SIGKILL leaves no time for anything, as when a node is lost.
"""

import os
import signal
import sys
from unittest.mock import patch

from graftwork.controller import cluster, operator_main
from tests.e2e.crash_lives import watched, without_upkeep


def main() -> None:
    """Run until the point."""

    def passes(point: str) -> None:
        if point == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(cluster, "KubernetesCluster", watched(cluster.KubernetesCluster, passes)), without_upkeep():
        operator_main.main()


if __name__ == "__main__":
    main()
