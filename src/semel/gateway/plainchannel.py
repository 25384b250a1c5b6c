"""What the SDK's `DispatchContext`s of plain calls have in common: there is nothing to be asked, and no progress."""

from collections.abc import Mapping
from typing import Any

from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.types import RequestId


class PlainChannel:
    """The channel of one request, but for its transport, its cancellation and where notifications go."""

    can_send_request = False

    def __init__(self, request_id: RequestId) -> None:
        self.request_id = request_id

    async def send_raw_request(
        self, method: str, _params: Mapping[str, Any] | None, _opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Refuse: servers of 2026-07-28 ask nothing."""
        raise NoBackChannelError(method)

    async def progress(self, _progress: float, _total: float | None = None, _message: str | None = None) -> None:
        """Drop it: a plain call has no progress token."""
