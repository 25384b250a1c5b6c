"""The decorator marks a function and says at once what is wrong with its arguments."""

import re
from typing import Any

import pytest

import semel
from semel.errors import TargetError
from semel.gateway.upstreams.declare import declaration_of


def test_a_marked_function_stays_a_function() -> None:
    @semel.tool
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    declared = declaration_of(add)
    assert declared is not None
    assert (declared.name, declared.effect, declared.timeout_s) == ("add", "once", None)


def test_the_decorator_takes_what_the_author_says() -> None:
    @semel.tool(effect="repeatable", timeout_s=5, serialize_by="account", name="pay.out", description="Pays.")
    async def pay(account: str) -> None: ...

    declared = declaration_of(pay)
    assert declared is not None
    assert (declared.name, declared.effect, declared.timeout_s) == ("pay.out", "repeatable", 5.0)
    assert (declared.serialize_by, declared.description) == ("account", "Pays.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"effect": "twice"}, "effect='twice'.*'read', 'repeatable', 'once'"),
        ({"timeout_s": 0}, "timeout_s=0.*over 0"),
        ({"timeout_s": "5"}, "timeout_s='5'"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"serialize_by": "acount"}, "serialize_by='acount'.*it has: account"),
        ({"name": "pay out"}, "name='pay out'.*letters"),
        ({"name": ""}, "name=''"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(arguments: dict[str, Any], said: str) -> None:
    def pay(account: str) -> None: ...

    with pytest.raises(TargetError, match=said):
        semel.tool(**arguments)(pay)


def knows_rest(account: str, rest: int = 0) -> None: ...


def knows_nothing_by_name(account: str, /) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"reconcile": 3}, "reconcile=3.*is a function"),
        ({"reconcile": knows_rest}, "reconcile=knows_rest.*takes 'rest'.*pay has no such.*it has: account"),
        ({"reconcile": knows_nothing_by_name}, "reconcile=knows_nothing_by_name.*by name.*'account'"),
        ({"reconcile": lambda: None, "effect": "repeatable"}, "effect='repeatable'.*only a call of a once tool"),
    ],
)
def test_a_bad_hook_is_refused_with_the_reason(arguments: dict[str, Any], said: str) -> None:
    def pay(account: str) -> None: ...

    with pytest.raises(TargetError, match=said):
        semel.tool(**arguments)(pay)


def test_a_hook_takes_what_it_likes_of_the_tools_parameters() -> None:
    def none() -> None: ...

    async def all_of_them(**arguments: Any) -> None: ...

    def one(account: str) -> None: ...

    for hook in (none, all_of_them, one):

        @semel.tool(reconcile=hook)
        def pay(account: str, amount: int) -> str:
            return account

        declared = declaration_of(pay)
        assert declared is not None
        assert declared.reconcile is hook


def test_only_functions_can_be_marked() -> None:
    with pytest.raises(TargetError, match="marks functions"):
        semel.tool(3)  # type: ignore[call-overload]  # the mistake under test


def test_outside_a_tool_there_is_no_current_call() -> None:
    with pytest.raises(LookupError, match=re.escape("semel.current_call() is for a tool")):
        semel.current_call()
