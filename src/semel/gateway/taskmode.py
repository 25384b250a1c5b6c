"""Whether a tool's calls become tasks, and who says so. Pure."""

import enum
from collections.abc import Mapping
from typing import Any

from semel.core.call import Effect
from semel.gateway import meta

EXTENSION = "io.modelcontextprotocol/tasks"

RELATED = "io.modelcontextprotocol/related-task"
"""In `_meta`, in MCP 2025-11-25: the task that a message is about."""


class TaskMode(enum.StrEnum):
    """What becomes of a call whose client can take a task in the place of an answer."""

    NEVER = "never"
    """It is answered when it is done, however long that takes."""
    AUTO = "auto"
    """It becomes a task if it takes long; what the tool asks before that, it asks in the ordinary way."""
    ALWAYS = "always"
    """It is a task at once, and what the tool asks, the task asks."""
    REQUIRED = "required"
    """The same, and a client that cannot take a task is refused."""


_SUPPORT = {"forbidden": TaskMode.NEVER, "optional": TaskMode.ALWAYS, "required": TaskMode.ALWAYS}
"""MCP 2025-11-25's `execution.taskSupport`. Who says "optional" of a tool says that it is worth a task. "required" is
what the server needs of who calls it, and that is semel, which needs no task of its own client."""


def said_of(tool: Mapping[str, Any]) -> TaskMode | None:
    """Return what a tool's own definition says, None if nothing."""
    declared = (tool.get("_meta") or {}).get(meta.TASK)
    if declared in list(TaskMode):
        return TaskMode(declared)
    return _SUPPORT.get(_support(tool))


def insists(tool: Mapping[str, Any]) -> bool:
    """Return whether a server of 2025-11-25 says of a tool that it can be called as a task only."""
    return _support(tool) == "required"


def _support(tool: Mapping[str, Any]) -> str:
    return str((tool.get("execution") or {}).get("taskSupport"))


def mode_of(tool: Mapping[str, Any]) -> TaskMode:
    """Return what holds for a tool as a node shows it: `auto`, where nothing is said.

    A read has no intent, so nothing of it is in the log before its outcome, and no task could be promised. (Where
    somebody says that a tool's calls are to be tasks, `make_entry` makes a repeatable tool of a read.)
    """
    effect = (tool.get("_meta") or {}).get(meta.EFFECT)
    return TaskMode.NEVER if effect == Effect.READ else said_of(tool) or TaskMode.AUTO


def without_tasks(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client can take, without tasks: those are between it and the node, which asks for plain results."""
    bare = {name: value for name, value in capabilities.items() if name != "tasks"}
    extensions = bare.get("extensions")
    if isinstance(extensions, dict) and EXTENSION in extensions:
        bare["extensions"] = {name: value for name, value in extensions.items() if name != EXTENSION}
        if not bare["extensions"]:
            del bare["extensions"]
    return bare


def with_tasks(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client can take, with tasks, which semel itself sees through for it."""
    extensions = capabilities.get("extensions")
    return {**capabilities, "extensions": {**(extensions if isinstance(extensions, dict) else {}), EXTENSION: {}}}


def with_support(tool: Mapping[str, Any], mode: TaskMode) -> dict[str, Any]:
    """Return a tool of this mode as MCP 2025-11-25 shows it, where the client decides which call is a task."""
    bare = {name: value for name, value in tool.items() if name != "execution"}
    if mode is TaskMode.NEVER:
        return bare
    return {**bare, "execution": {"taskSupport": "required" if mode is TaskMode.REQUIRED else "optional"}}
