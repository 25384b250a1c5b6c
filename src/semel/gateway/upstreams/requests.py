"""What is asked of a server, by its method, in the SDK's models; and its answer as it came."""

from collections.abc import Mapping
from typing import Any

from mcp import types
from pydantic import RootModel

REQUESTS: Mapping[str, tuple[type[Any], type[Any]]] = {
    "tools/call": (types.CallToolRequest, types.CallToolRequestParams),
    "resources/list": (types.ListResourcesRequest, types.PaginatedRequestParams),
    "resources/templates/list": (types.ListResourceTemplatesRequest, types.PaginatedRequestParams),
    "resources/read": (types.ReadResourceRequest, types.ReadResourceRequestParams),
    "prompts/list": (types.ListPromptsRequest, types.PaginatedRequestParams),
    "prompts/get": (types.GetPromptRequest, types.GetPromptRequestParams),
    "completion/complete": (types.CompleteRequest, types.CompleteRequestParams),
}
"""The SDK's request of each method, and its parameters."""


class AboutTask(types.Request[dict[str, Any], str]):
    """A request on a task, of which the SDK knows no more than that the task is named in a header over HTTP."""

    name_param = "taskId"


class AsItCame(RootModel[dict[str, Any]]):
    """A result as the server gave it: the SDK checks its form, and fields that it does not know are kept."""
