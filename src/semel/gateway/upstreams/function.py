"""A marked function as a call runs it: its arguments checked and its value made a result as the SDK's server does.

That server would make a request, a session, a connection and a context around each call, which only a function that
takes a `Context` or has parameters resolved can see.
"""

import logging
from typing import Any

import pydantic_core
from mcp import MCPError
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import BaseModel, TypeAdapter

from semel.core.call import is_plain_json

_log = logging.getLogger(__name__)

_VALUES = frozenset({str, int, float, bool, dict})
"""Of these types (not of their subclasses) it is said here what they become; of all others, by the SDK."""

_NO_CONTEXT: Any = None


def needs_arguments_alone(tool: Tool) -> bool:
    """Return whether a tool's function can be called without a server around it."""
    return tool.context_kwarg is None and not tool.resolved_params


class Function:
    """The function of such a tool."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        made = tool.fn_metadata
        self._wraps = made.wrap_output
        self._output = None if made.output_model is None else made._output_adapter(made.output_model)

    async def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the CallToolResult, as JSON's objects are in Python; raises MCPError if the function does."""
        try:
            return self._result(await self._tool.run(arguments, _NO_CONTEXT))
        except MCPError:
            raise
        except Exception as error:
            told = (
                error
                if isinstance(error, ToolError)
                else UnexpectedToolError(f"Error executing tool {self._tool.name}")
            )
            if isinstance(told, UnexpectedToolError):
                _log.exception("what the tool %s gave or was given cannot be made a result", self._tool.name)
            return {"content": [{"type": "text", "text": str(told)}], "isError": True}

    def _result(self, value: Any) -> dict[str, Any]:
        if type(value) not in _VALUES:
            return _dumped(self._tool.fn_metadata.convert_result(value))
        text = value if type(value) is str else pydantic_core.to_json(value, fallback=str, indent=2).decode()
        result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
        if self._output is not None:
            result["structuredContent"] = self._structured(self._output, value)
        result["isError"] = False
        plain = self._output is None or is_plain_json(result["structuredContent"])  # all else is text
        return result if plain else _dumped(CallToolResult.model_validate(result))

    def _structured(self, output: TypeAdapter[Any], value: Any) -> Any:
        """Return what the function gave in the form that its schema promises."""
        checked = output.validate_python({"result": value} if self._wraps else value, by_alias=True, by_name=True)
        if isinstance(checked, BaseModel):
            return checked.model_dump(mode="json", by_alias=True)
        return output.dump_python(checked, mode="json", by_alias=True)


def _dumped(result: BaseModel) -> dict[str, Any]:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)
