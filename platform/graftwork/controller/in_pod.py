"""The one call that a training pod makes to its cluster: it writes its report, with the token mounted into it.

No Kubernetes client stands in the training image for that.
Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import httpx

from graftwork.controller.job_objects import PROGRESS_KEY
from graftwork.errors import PermanentError, TransientError

ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API_SERVER: Final = "https://kubernetes.default.svc"
_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = 5.0


def patch_config_map(
    namespace: str, name: str, text: str, *, server: str = API_SERVER, account: Path = ACCOUNT_DIR
) -> None:
    """Set the report in a ConfigMap.

    Args:
        namespace: of the ConfigMap.
        name: of the ConfigMap.
        text: the report.
        server: the API server.
        account: folder with `token` and `ca.crt`.

    Raises:
        TransientError: the API server does not answer.
        PermanentError: it refuses, or the pod has no token.
    """
    try:
        # Read anew each time: tokens are replaced before they run out.
        token = (account / "token").read_text().strip()
        trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
    except OSError as error:
        raise PermanentError(f"{error.filename}: {error.strerror}. Give the driver's pod its token.") from error
    try:
        answer = httpx.patch(
            f"{server}/api/v1/namespaces/{namespace}/configmaps/{name}",
            json={"data": {PROGRESS_KEY: text}},
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
            verify=trust,
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        raise TransientError(f"The Kubernetes API server does not answer ({error}).", delay_s=_RETRY_S) from error
    if answer.is_server_error:
        raise TransientError(f"The Kubernetes API server fails ({answer.status_code}).", delay_s=_RETRY_S)
    if answer.is_error:
        raise PermanentError(f"The report could not be written: {answer.text}")
