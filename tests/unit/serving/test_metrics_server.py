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
from graftwork_serving.metrics_server import start_metrics_server
ServingMetrics().requests.labels("flowers", "roses", "plain", "200").inc(3)
first = start_metrics_server(directory, host="127.0.0.1", port=0)
port = first.server_address[1]
# Another replica of the pod listens beside it.
second = start_metrics_server(directory, host="127.0.0.1", port=port)
for _ in range(8):
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200, answer
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'graftwork_requests_total{code="200",endpoint="flowers",model="roses",protocol="plain"} 3.0' in answer.text
assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
first.shutdown()
second.shutdown()
print("seen")
"""


def test_replicas_side_by_side_tell_their_metrics(tmp_path: Path) -> None:
    """Each answers for all that share the directory, with nothing else on the port."""
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "metrics")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "seen", answer.stderr
