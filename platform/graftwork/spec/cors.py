"""Web pages of other origins that may ask an endpoint from a browser. No I/O here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graftwork.spec.base import ORIGIN_PATTERN, SpecModel


class Cors(SpecModel):
    """Cross-origin resource sharing: browsers let pages of other origins ask only where the endpoint says so.

    Who may ask at all is said by `auth`, whose keys such pages send like everyone; cookies are not taken.
    """

    allowed_origins: list[Annotated[str, Field(max_length=300, pattern=ORIGIN_PATTERN)]] = Field(default_factory=list)
    """Origins of these pages, such as `https://app.example.com`, or `*` for all. Default: none but the endpoint's own
    playground."""

    @property
    def origins(self) -> list[str]:
        """These origins as browsers send them: without the port that the scheme has anyway."""
        usual = {"http": ":80", "https": ":443"}
        return [each.removesuffix(usual.get(each.partition("://")[0], "")) for each in self.allowed_origins]
