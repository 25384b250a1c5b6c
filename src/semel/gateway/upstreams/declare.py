"""What the author of a plain function says of it, and what the function may learn of the call that it runs for.

Knows nothing of MCP: the mark is read by `pyfile.py`, the call is set by `toolbox.py`.
"""

import inspect
import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, overload

import msgspec

from semel.core.call import Effect
from semel.errors import TargetError
from semel.gateway.taskmode import TaskMode

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # what MCP's specification says of tool names
_MARK = "__semel_tool__"

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told of one function."""

    name: str
    description: str | None
    effect: Effect
    timeout_s: float | None
    serialize_by: str | None
    reconcile: Callable[..., Any] | None
    task: TaskMode | None


class CurrentCall(msgspec.Struct, frozen=True, kw_only=True):
    """The call that a tool runs for; `key` is what to hand on to a service that knows idempotency keys too.

    `attempt` counts the runs of this call from 1; `timeout_s` is the time limit of this run.
    """

    key: str
    caller: str
    term: int
    attempt: int
    timeout_s: float


CURRENT: ContextVar[CurrentCall] = ContextVar("semel_current_call")


def current_call() -> CurrentCall:
    """Return the call that this function runs for; works in sync functions and in async ones.

    Raises:
        LookupError: no tool is running here.
    """
    try:
        return CURRENT.get()
    except LookupError:
        raise LookupError("semel.current_call() is for a tool while semel runs it; here, no call is running") from None


@overload
def tool(function: _Function, /) -> _Function: ...


@overload
def tool(
    *,
    effect: Literal["read", "repeatable", "once"] = "once",
    timeout_s: float | None = None,
    serialize_by: str | None = None,
    reconcile: Callable[..., Any] | None = None,
    task: Literal["never", "auto", "always", "required"] | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[_Function], _Function]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: str = "once",
    timeout_s: float | None = None,
    serialize_by: str | None = None,
    reconcile: Callable[..., Any] | None = None,
    task: str | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Any:
    """Mark a typed function as a tool for `semel serve`; it stays a function that you can call.

    Args:
        function: the function, sync or async; its type hints become the schema, its docstring the description.
        effect: what a second run would do: "read" changes nothing, "repeatable" is harmless again, "once" is not.
        timeout_s: the time limit of one run, in seconds.
        serialize_by: the parameter by whose value calls are run one after the other, in the order of the log.
        reconcile: the hook that is asked whether the tool acted, before a call is said to be in doubt: a function,
            sync or async, that takes any of the tool's parameters by name and may use `current_call()`. It returns
            what the tool would have returned if it knows that the tool acted, and None if it does not know. The tool
            is never run because of what it says. It must change nothing, and has the tool's time limit. (For
            tools of other servers, mcp.json names one.)
        task: whether a call becomes an MCP task, for a client that takes one: "auto", the default, if it takes long;
            "always"; "never"; "required" refuses clients that take none. (A "read" tool has tasks only if this is
            said, and then its calls are logged as those of a "repeatable" one.)
        name: the tool's name, if not the function's.
        description: what the tool does, if not the docstring.

    Raises:
        TargetError: an argument makes no sense; the text says which.
    """

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        declaration = Declaration(
            name=_checked_name(marked, name),
            description=description,
            effect=_checked_effect(effect),
            timeout_s=_checked_timeout(timeout_s),
            serialize_by=_checked_parameter(marked, serialize_by),
            reconcile=None if reconcile is None else checked_hook(marked, reconcile, effect),
            task=_checked_task(task),
        )
        setattr(marked, _MARK, declaration)
        return marked

    return mark if function is None else mark(function)


def declaration_of(value: object) -> Declaration | None:
    """Return what the decorator was told of `value`, None if it is not marked."""
    declaration = getattr(value, _MARK, None) if callable(value) else None
    return declaration if isinstance(declaration, Declaration) else None


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    if not inspect.isroutine(function):
        raise TargetError(f"@tool marks functions, and {function!r} is none: put it on a def")
    chosen = function.__name__ if name is None else name
    if not isinstance(chosen, str) or not _NAME.fullmatch(chosen):
        raise TargetError(
            f"@tool(name={chosen!r}): a tool's name has 1 to 128 letters, digits, or any of _ . -: give it another"
        )
    return chosen


def _checked_effect(effect: str) -> Effect:
    try:
        return Effect(effect)
    except ValueError:
        known = ", ".join(repr(str(each)) for each in Effect)
        raise TargetError(f"@tool(effect={effect!r}): there is no such effect; say one of {known}") from None


def _checked_timeout(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, int | float) or not math.isfinite(timeout_s) or timeout_s <= 0:
        raise TargetError(f"@tool(timeout_s={timeout_s!r}): say a number of seconds over 0")
    return float(timeout_s)


def _checked_task(task: str | None) -> TaskMode | None:
    try:
        return None if task is None else TaskMode(task)
    except ValueError:
        known = ", ".join(repr(str(each)) for each in TaskMode)
        raise TargetError(f"@tool(task={task!r}): there is no such mode; say one of {known}") from None


def _checked_parameter(function: Callable[..., Any], serialize_by: str | None) -> str | None:
    if serialize_by is None:
        return None
    parameters = inspect.signature(function).parameters
    if serialize_by not in parameters:
        there = ", ".join(parameters) or "none"
        raise TargetError(
            f"@tool(serialize_by={serialize_by!r}): {function.__name__} has no such parameter; it has: {there}"
        )
    return serialize_by


def checked_hook(
    function: Callable[..., Any], hook: Callable[..., Any], effect: str = Effect.ONCE, *, place: str = "@tool"
) -> Callable[..., Any]:
    """Return the reconcile hook of a tool's function; `place` is what was given it.

    Raises:
        TargetError: it cannot be asked, or never would be.
    """
    if not inspect.isroutine(hook):
        raise TargetError(f"{place}(reconcile={hook!r}): a reconcile hook is a function, and this is none")
    if effect != Effect.ONCE:
        raise TargetError(
            f"{place}(effect={effect!r}, reconcile={hook.__name__}): only a call of a once tool is ever in doubt, so "
            "the hook would never be asked: leave it out"
        )
    there = inspect.signature(function).parameters
    for name, parameter in inspect.signature(hook).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TargetError(
                f"{place}(reconcile={hook.__name__}): a hook is given its arguments by name, and cannot be given "
                f"{name!r}"
            )
        if name not in there:
            raise TargetError(
                f"{place}(reconcile={hook.__name__}): the hook takes {name!r}, and {function.__name__} has no such "
                f"parameter; it has: {', '.join(there) or 'none'}"
            )
    return hook
