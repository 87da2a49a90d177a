"""A Ray cluster of several machines on this one, in a process of its own: `python -m ...machines`.

Prints the cluster's address. Each line of its input then adds a machine with one core at an address, or takes the last
one away without warning. Ends with its input.
"""

from __future__ import annotations

import sys
from typing import Any

HEAD, FIRST = "127.0.0.2", "127.0.0.3"
TAKE_AWAY = "take away"


def main() -> None:
    """Run the cluster."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": HEAD}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    machines: list[Any] = [cluster.add_node(num_cpus=1, node_ip_address=FIRST)]
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == TAKE_AWAY:
            cluster.remove_node(machines.pop(), allow_graceful=False)
        else:
            machines.append(cluster.add_node(num_cpus=1, node_ip_address=line.strip()))
    cluster.shutdown()


if __name__ == "__main__":
    main()
