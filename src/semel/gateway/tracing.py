"""Whether somebody may want spans of OpenTelemetry, which only the SDK's own way makes, and none of the short ways."""

import sys

_TRACING = "opentelemetry.sdk.trace"
"""With this in the process somebody may want spans, and the SDK makes them."""


def traced() -> bool:
    """Return whether what makes spans is in this process."""
    return _TRACING in sys.modules
