from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a process of its own: prometheus_client decides once, when it is imported, whether metrics are shared.
_SCRIPT = """
import sys
from pathlib import Path
from graftwork.metrics import ServingMetrics, share_metrics
directory = Path(sys.argv[1])
share_metrics(directory)
import httpx
from graftwork.controller.rollback_report import GivenUpVersion, RollbackReport
from graftwork_serving.cluster_port import open_cluster_port
ServingMetrics().requests.labels("flowers", "roses", "plain", "200").inc(3)
words = {"given_up": "roses/2", "serving": "roses/1", "message": "too slow"}
report = RollbackReport(given_up=[GivenUpVersion(model="roses@champion", **words)])
first = open_cluster_port(directory, lambda: report, host="127.0.0.1", port=0)
port = first.server_address[1]
# Another replica of the pod listens beside it.
second = open_cluster_port(directory, lambda: report, host="127.0.0.1", port=port)
for _ in range(8):
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200, answer
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'graftwork_requests_total{code="200",endpoint="flowers",model="roses",protocol="plain"} 3.0' in answer.text
from graftwork.controller.replicas import Replicas
assert Replicas().rollbacks(f"127.0.0.1:{port}") == report
missing = httpx.get(f"http://127.0.0.1:{port}/")
assert missing.status_code == 404 and "/metrics and /rollbacks" in missing.text, missing.text
first.shutdown()
second.shutdown()
print("seen")
"""


def test_replicas_side_by_side_tell_metrics_and_rollbacks(tmp_path: Path) -> None:
    """Each answers for all that share the directory, the operator understands it, and there is nothing else."""
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "metrics")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "seen", answer.stderr
