"""The plain CallToolResult: texts, a structured value and `_meta`, of which nothing has to be judged or dropped.

Most results are such; a look at their keys tells what the SDK's models would take ten times as long to say.
"""

from typing import Any, TypeGuard

_KEYS = frozenset({"resultType", "content", "structuredContent", "isError", "_meta"})
_BLOCK = {"type", "text"}


def is_plain(result: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is a result in order, in every version that knows its `resultType`, if it has one."""
    return (
        type(result) is dict
        and result.keys() <= _KEYS
        and result.get("resultType", "complete") == "complete"
        and type(content := result.get("content")) is list
        and all(_is_text(block) for block in content)
        and type(result.get("isError", False)) is bool
        and type(result.get("structuredContent", {})) is dict
        and type(result.get("_meta", {})) is dict
    )


def _is_text(block: Any) -> bool:
    is_block = type(block) is dict and block.keys() == _BLOCK
    return is_block and block["type"] == "text" and type(block["text"]) is str
