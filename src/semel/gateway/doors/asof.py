"""As of when what a node shows is: which position of the log, and how fresh; and the HTTP headers that say so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_POSITION = "semel-position"
_LOG_AGE = "semel-log-age-s"


@dataclass(frozen=True, slots=True)
class AsOf:
    """The node had read the log up to `position` at least, and had last heard from it `log_age_s` before."""

    position: int
    log_age_s: float

    def headers(self) -> dict[str, str]:
        """Return the headers that say this."""
        return {_POSITION: str(self.position), _LOG_AGE: f"{self.log_age_s:.3f}"}

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self | None:
        """Return what headers say, None if they do not: an older node's."""
        try:
            return cls(int(headers[_POSITION]), float(headers[_LOG_AGE]))
        except (KeyError, ValueError):
            return None
