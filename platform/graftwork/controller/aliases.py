"""What an alias of the model registry stands for, asked of an MLflow server over its REST API.

The operator holds neither MLflow nor credentials of storage: name, alias and version are all it needs.
Source: https://mlflow.org/docs/latest/api_reference/rest-api.html (Get Model Version by Alias).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx

from graftwork.errors import GraftworkError, PermanentError, TransientError

_PATH: Final = "/api/2.0/mlflow/registered-models/alias"
_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 30.0
_NOT_FOUND: Final = 404
# How long a server that did not answer is taken to be silent.
_SILENT_S: Final = 15.0


class MlflowAliases:
    """Aliases of one MLflow server.

    Args:
        tracking_uri: the server; None if there is none.
        client: for tests.
        clock: seconds, only going forward.
    """

    def __init__(
        self,
        tracking_uri: str | None,
        client: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uri = tracking_uri
        self._client = client or httpx.Client(timeout=_TIMEOUT_S)
        self._clock = clock
        self._silent: tuple[float, httpx.TransportError] | None = None

    def __call__(self, reference: str) -> str:
        """`NAME/VERSION` behind `NAME@ALIAS`.

        Raises:
            GraftworkError: there is none, or the server does not say.
        """
        name, _, alias = reference.partition("@")
        if self._uri is None:
            raise PermanentError("There is no MLflow server. Install the chart with `mlflow.trackingUri`.")
        silent = self._silent
        if silent is not None and self._clock() < silent[0]:
            raise self._unreachable(silent[1])  # all need not wait for a server that hangs, one after the other
        try:
            answer = self._client.get(f"{self._uri.rstrip('/')}{_PATH}", params={"name": name, "alias": alias})
            if answer.status_code == _NOT_FOUND or self._says_missing(answer):
                raise PermanentError("The registry has no such model or alias. Register it, or correct the name.")
            answer.raise_for_status()
            return f"{name}/{answer.json()['model_version']['version']}"
        except (httpx.HTTPError, ValueError, KeyError) as error:
            if isinstance(error, httpx.TransportError):
                self._silent = (self._clock() + _SILENT_S, error)
            raise self._unreachable(error) from error

    def _says_missing(self, answer: httpx.Response) -> bool:
        """MLflow says with status 400 that an alias does not exist."""
        return answer.is_client_error and "alias" in answer.text and "not found" in answer.text

    def _unreachable(self, error: Exception) -> GraftworkError:
        return TransientError(
            f"The MLflow server {self._uri} does not answer ({error}). Check that it runs and that a NetworkPolicy "
            "lets the operator through; what is served stays as it is.",
            delay_s=_RETRY_S,
        )
