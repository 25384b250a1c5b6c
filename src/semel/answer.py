"""What a tool said, in short: the plain value inside a CallToolResult."""

from collections.abc import Mapping
from typing import Any


def plain_value(result: Mapping[str, Any]) -> Any:
    """Return what the tool returned: its structured value, else its text, else its content blocks.

    The SDK wraps a value that is no object as `{"result": value}`; that wrapping is taken off. Several blocks of
    text are joined by line ends.
    """
    structured = result.get("structuredContent")
    if isinstance(structured, Mapping):
        return structured["result"] if structured.keys() == {"result"} else dict(structured)
    content = result.get("content") or []
    if all(isinstance(block, Mapping) and block.get("type") == "text" for block in content):
        return "\n".join(block.get("text", "") for block in content)
    return content
