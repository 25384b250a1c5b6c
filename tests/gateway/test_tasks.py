"""Tasks over HTTP, in both forms: their life, their ids, what they ask, how they are given up; and what is no task."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from msgspec.structs import replace

import semel
from semel.core.call import CallId, Status
from semel.errors import NoLeader, TargetError
from semel.gateway.doors import tasks
from semel.gateway.doors.taskid import TaskId
from semel.gateway.doors.ticket import Ticket
from semel.gateway.taskmode import TaskMode, mode_of
from semel.gateway.upstreams.catalogue import make_entry
from semel.gateway.upstreams.declare import declaration_of
from semel.gateway.upstreams.overrides import Override
from semel.node.settled import settled
from tests.gateway.taskwire import EXTENSION, NEW, OLD, RETENTION_MS, SCHEMA, Wire, asking, make_node, open_wire, text

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AUTO_S", 0.1)
    monkeypatch.setattr(tasks, "CANCEL_S", 0.2)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with open_wire(make_node(), NEW) as opened:
        yield opened


@pytest.fixture
async def old() -> AsyncIterator[Wire]:
    async with open_wire(make_node(), OLD) as opened:
        yield opened


# The life of a task.


async def test_a_task_is_in_the_log_before_it_is_given_and_ends_with_the_result_of_its_call(wire: Wire) -> None:
    made = await wire.call("always", {"a": 1}, meta={"dev.semel/idempotency-key": "k"})
    (record,) = wire.node.records.values()
    assert record.status is Status.RUNNING
    said = made.pop("_meta")
    assert (said["dev.semel/idempotency-key"], said["dev.semel/outcome"]) == ("k", "running")
    task_id = made["taskId"]
    assert made == {
        "resultType": "task",
        "taskId": task_id,
        "status": "working",
        "statusMessage": "always runs on n1",
        "createdAt": "2023-11-14T22:13:20.000Z",
        "lastUpdatedAt": "2023-11-14T22:13:20.000Z",
        "ttlMs": RETENTION_MS,
        "pollIntervalMs": 5000,
    }
    working = await wire.get(task_id)
    assert (working["resultType"], working["status"]) == ("complete", "working")
    assert not {"result", "error", "inputRequests", "requestState"} & working.keys()

    await wire.node.end(record.id, Status.OK, text("done"))
    done = await wire.get(task_id)
    assert (done["status"], done["lastUpdatedAt"]) == ("completed", "2023-11-14T22:13:20.250Z")
    assert done["result"]["content"] == text("done")["content"]
    assert done["result"]["_meta"]["dev.semel/outcome"] == "ok"
    assert "pollIntervalMs" not in done
    assert len(wire.node.calls) == 1


async def test_every_node_reads_the_id_and_every_retry_gets_the_same_one(wire: Wire) -> None:
    made = [await wire.call("always", meta={"dev.semel/idempotency-key": "k"}) for _ in range(2)]
    assert made[0]["taskId"] == made[1]["taskId"]
    assert len(wire.node.calls) == 1
    async with open_wire(wire.node, NEW) as other:
        assert (await other.get(made[0]["taskId"]))["status"] == "working"


async def test_a_call_that_ends_soon_is_answered_and_one_that_does_not_becomes_a_task(wire: Wire) -> None:
    wire.node.script.append((Status.OK, text("soon")))
    soon = await wire.call("auto")
    assert (soon["resultType"], soon["content"]) == ("complete", text("soon")["content"])
    late = await wire.call("auto")
    assert late["resultType"] == "task"


async def test_a_call_that_has_not_begun_is_no_task_yet(wire: Wire) -> None:
    wire.node.held = asyncio.Event()
    asked = asyncio.create_task(wire.call("always"))
    await asyncio.sleep(0.3)
    assert not asked.done()
    wire.node.held.set()
    assert (await asked)["resultType"] == "task"


async def test_a_call_that_never_begins_fails_as_any_other_and_leaves_no_task(wire: Wire) -> None:
    wire.node.error = NoLeader("no leader was found")
    held = await wire.call("always")
    assert (held["resultType"], held["_meta"]["dev.semel/held"]["code"]) == ("input_required", "no_leader")
    assert wire.node.records == {}


@pytest.mark.parametrize("name", ["never", "look", "auto"])
async def test_what_has_no_intent_or_no_client_for_it_is_answered_when_it_is_done(wire: Wire, name: str) -> None:
    asked = asyncio.create_task(wire.call(name, declares=name != "auto"))
    await asyncio.sleep(0.3)
    assert not asked.done()
    (record,) = wire.node.records.values()
    await wire.node.end(record.id, Status.OK, text("done"))
    assert (await asked)["resultType"] == "complete"


OUTCOMES = {
    "an error of the tool": (Status.ERROR, text("no money", isError=True), "completed", "error"),
    "a time limit": (Status.TIMED_OUT, text("too long", isError=True), "completed", "timed_out"),
    "doubt": (Status.IN_DOUBT, None, "completed", "in_doubt"),
}


@pytest.mark.parametrize(("status", "result", "shown", "outcome"), OUTCOMES.values(), ids=OUTCOMES.keys())
async def test_what_a_call_would_be_answered_is_what_a_task_ends_with(
    wire: Wire, status: Status, result: dict[str, Any] | None, shown: str, outcome: str
) -> None:
    task_id = (await wire.call("always"))["taskId"]
    (call,) = wire.node.records
    await wire.node.end(call, status, result)
    ended = await wire.get(task_id)
    assert (ended["status"], ended["result"]["isError"]) == (shown, True)
    assert ended["result"]["_meta"]["dev.semel/outcome"] == outcome
    assert ("statusMessage" in ended) is (outcome != "error")
    assert "error" not in ended


async def test_a_doubt_that_is_settled_later_shows_the_outcome_and_keeps_its_status(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    (call,) = wire.node.records
    await wire.node.end(call, Status.IN_DOUBT, None)
    doubted = await wire.get(task_id)
    assert doubted["result"]["content"][0]["text"].startswith("In doubt: nobody can know")
    await wire.node.end(call, Status.OK, text("it acted"))
    settled_later = await wire.get(task_id)
    assert settled_later["status"] == doubted["status"]
    assert settled_later["result"]["content"] == text("it acted")["content"]


async def test_an_error_of_the_protocol_is_told_as_one(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    (call,) = wire.node.records
    error = {"code": -32603, "message": "it broke off", "data": {"at": 3}}
    told = text("always failed", isError=True, _meta={"dev.semel/protocol-error": error})
    await wire.node.end(call, Status.ERROR, told)
    failed = await wire.get(task_id)
    assert (failed["status"], failed["error"], failed["statusMessage"]) == ("failed", error, "it broke off")
    assert "result" not in failed


# Who may, and with which id.


async def test_only_a_client_that_declares_tasks_gets_any_and_may_ask_after_them(wire: Wire) -> None:
    refused = await wire.fail("tools/call", {"name": "required", "arguments": {}}, declares=False)
    assert (refused["code"], refused["status"]) == (-32021, 400)
    assert refused["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        params = {"taskId": "whatever", "inputResponses": {}}
        assert (await wire.fail(method, params, declares=False))["code"] == -32021
    wanted = {"notifications": {"taskIds": ["whatever"]}}
    assert (await wire.fail("subscriptions/listen", wanted, declares=False))["code"] == -32021
    assert wire.node.calls == []


async def test_the_capability_is_announced_and_what_is_gone_is_not_there(wire: Wire) -> None:
    capabilities = (await wire.ask("server/discover", {}))["capabilities"]
    assert capabilities["extensions"] == {EXTENSION: {}}
    assert "tasks" not in capabilities
    for method in ("tasks/list", "tasks/result"):
        assert (await wire.fail(method, {"taskId": "whatever"}))["code"] == -32601


async def test_the_header_must_name_the_task(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    refused = await wire.fail("tasks/get", {"taskId": task_id}, headers={"Mcp-Name": "another"})
    assert (refused["code"], refused["status"]) == (-32020, 400)


def body(value: Any) -> str:
    return "task-" + base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


GARBAGE = {
    "empty": "",
    "a word": "whatever",
    "no base64": "task-ä",
    "no JSON": "task-////",
    "another shape": body({"caller": "anonymous"}),
    "too few": body(["anonymous", "k"]),
    "numbers": body([1, 2, 3]),
    "huge": "task-" + "a" * 8_000,
    "of nothing": body(["anonymous", "nothing", "x"]),
}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_an_id_that_no_node_gave_names_no_task(wire: Wire, method: str) -> None:
    for task_id in GARBAGE.values():
        headers = {"Mcp-Name": f"=?base64?{base64.b64encode(task_id.encode()).decode()}?="}
        params = {"taskId": task_id, "inputResponses": {}}
        refused = await wire.fail(method, params, headers=headers)
        assert (refused["code"], refused["data"]["code"]) == (-32602, "unknown_task"), task_id
        assert refused["message"] == "there is no such task, or it is not this caller's"
    made = await wire.call("always")  # and the node serves on
    assert made["resultType"] == "task"


async def test_who_knows_the_key_cannot_make_the_id(wire: Wire) -> None:
    task_id = (await wire.call("always", meta={"dev.semel/idempotency-key": "order-42"}))["taskId"]
    made = TaskId.read(task_id)
    assert made is not None
    (record,) = wire.node.records.values()
    forged = [
        TaskId("anonymous", "order-42", "A" * 22),
        TaskId("anonymous", "order-42", made.mark[:-1]),
        TaskId.of(record, "another cluster"),
        TaskId.of(replace(record, request="n1.life/7"), wire.node.cluster_id),
    ]
    for each in forged:
        assert (await wire.fail("tasks/get", {"taskId": each.text()}))["code"] == -32602
    padded = f"{task_id}=="
    assert (await wire.fail("tasks/get", {"taskId": padded}))["code"] == -32602
    assert (await wire.get(task_id))["status"] == "working"


async def test_a_task_is_its_callers_alone(wire: Wire) -> None:
    task_id = (await wire.call("always", meta={"dev.semel/caller": "shop"}))["taskId"]
    assert (await wire.get(task_id, meta={"dev.semel/caller": "shop"}))["status"] == "working"
    assert (await wire.get(task_id))["status"] == "working"  # nobody is authenticated: the id was told to one alone
    for method in ("tasks/get", "tasks/cancel"):
        refused = await wire.fail(method, {"taskId": task_id}, meta={"dev.semel/caller": "mallory"})
        assert refused["code"] == -32602
    assert wire.node.cancelled == []


async def test_whom_the_transport_authenticated_sees_their_own_tasks_only() -> None:
    node = make_node()

    def sign_in(subject: str) -> Any:
        user = AuthenticatedUser(AccessToken(token="t", client_id="program", subject=subject, scopes=[]))
        return auth_context_var.set(user)

    alice = sign_in("alice")
    async with open_wire(node, NEW) as wire:
        task_id = (await wire.call("always"))["taskId"]
        assert (await wire.get(task_id))["status"] == "working"
    auth_context_var.reset(alice)
    mallory = sign_in("mallory")
    async with open_wire(node, NEW) as wire:
        assert (await wire.fail("tasks/get", {"taskId": task_id}))["code"] == -32602
    auth_context_var.reset(mallory)


async def test_a_task_whose_result_is_forgotten_has_expired(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    (call,) = wire.node.records
    await wire.node.end(call, Status.OK, text("done"))
    forgotten = replace(wire.node.records[call], forgotten=True, result=None, arguments=msgspec.Raw(b"null"))
    wire.node.records[call] = forgotten
    refused = await wire.fail("tasks/get", {"taskId": task_id})
    assert (refused["code"], "expired" in refused["message"]) == (-32602, True)
    del wire.node.records[call]
    assert (await wire.fail("tasks/get", {"taskId": task_id}))["code"] == -32602


async def test_a_node_that_cannot_tell_says_so_and_not_that_there_is_no_task(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    wire.node.records.clear()
    wire.node.lost = True
    refused = await wire.fail("tasks/get", {"taskId": task_id})
    assert (refused["code"], refused["data"]["code"], refused["data"]["retrySafe"]) == (-32603, "unconfirmed", True)


# What a task asks.


async def test_what_the_tool_asks_is_asked_by_the_task_and_its_answers_begin_the_next_round(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, asking("sure")))
    made = await wire.call("always", {"file": "x"}, meta={"dev.semel/idempotency-key": "k"})
    assert made["resultType"] == "task"
    assert not {"inputRequests", "requestState"} & made.keys()
    task_id = made["taskId"]
    waiting = await wire.get(task_id)
    assert waiting["status"] == "input_required"
    assert waiting["inputRequests"] == {"1.sure": asking("sure")["inputRequests"]["sure"]}
    assert "requestState" not in waiting

    ack = await wire.update(task_id, **{"1_sure": {"yes": True}, "1_other": {}, "7_sure": {}})
    assert {name for name in ack if name != "_meta"} == {"resultType"}
    assert (await wire.get(task_id))["status"] == "working"
    second = wire.node.calls[-1]
    assert (second.id, second.tool, bytes(second.arguments)) == (
        CallId("anonymous", "k", 2),
        "always",
        b'{"file": "x"}',
    )
    assert second.answers is not None
    given = {"sure": {"action": "accept", "content": {"yes": True}}}
    assert json.loads(bytes(second.answers)) == {"requestState": "state", "inputResponses": given}
    await wire.node.end(second.id, Status.OK, text("deleted"))
    assert (await wire.get(task_id))["result"]["content"] == text("deleted")["content"]


async def test_answers_may_come_one_by_one_and_are_in_the_log_as_they_come(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, asking("a", "b", "c")))
    task_id = (await wire.call("always"))["taskId"]
    async with open_wire(wire.node, NEW) as other:
        for door, key, rest in ((wire, "b", {"1.a", "1.c"}), (other, "a", {"1.c"})):
            await door.update(task_id, **{f"1_{key}": key})
            left = await door.get(task_id)
            assert (left["status"], left["inputRequests"].keys()) == ("input_required", rest)
            await door.update(task_id, **{f"1_{key}": "again"})  # it was answered, and is no more
        assert len(wire.node.calls) == 3  # none of which ran the tool but the first
        await wire.update(task_id, **{"1_c": "c"})
    last = wire.node.calls[-1]
    assert last.answers is not None
    assert json.loads(bytes(last.answers)) == {
        "requestState": "state",
        "inputResponses": {key: {"action": "accept", "content": key} for key in ("b", "a", "c")},
    }
    assert (await wire.get(task_id))["status"] == "working"


async def test_a_key_is_never_asked_twice(wire: Wire) -> None:
    wire.node.script += [(Status.INPUT_REQUIRED, asking("name", state=None))] * 2
    task_id = (await wire.call("always"))["taskId"]
    await wire.update(task_id, **{"1_name": "a"})
    assert (await wire.get(task_id))["inputRequests"].keys() == {"2.name"}
    await wire.update(task_id, **{"1_name": "late"})
    assert len(wire.node.calls) == 2
    await wire.update(task_id, **{"2_name": "b"})
    assert len(wire.node.calls) == 3


async def test_answers_that_cross_are_all_taken(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, asking("a", "b")))
    task_id = (await wire.call("always"))["taskId"]
    await asyncio.gather(*(wire.update(task_id, **{f"1_{key}": key}) for key in "ab"))
    assert (await wire.get(task_id))["status"] == "working"
    last = wire.node.calls[-1]
    assert last.answers is not None
    assert json.loads(bytes(last.answers))["inputResponses"].keys() == {"a", "b"}


async def test_a_tool_that_only_wants_to_be_called_again_is(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, {"requestState": "later"}))
    task_id = (await wire.call("always"))["taskId"]
    assert (await wire.get(task_id))["status"] == "working"
    last = wire.node.calls[-1]
    assert (last.id.round, json.loads(bytes(last.answers or b""))) == (2, {"requestState": "later"})


async def test_what_a_tool_asks_in_the_middle_of_its_run_is_asked_by_the_task(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    (call,) = wire.node.records
    request = asking("sure")["inputRequests"]["sure"]
    running = asyncio.create_task(wire.node.asides.of(call).ask(request["method"], request["params"]))
    await asyncio.sleep(0)
    waiting = await wire.get(task_id)
    assert waiting["status"] == "input_required"
    ((key, asked),) = waiting["inputRequests"].items()
    assert asked == request
    await wire.ask("tasks/update", {"taskId": task_id, "inputResponses": {"another": {}}})
    assert not running.done()
    await wire.ask("tasks/update", {"taskId": task_id, "inputResponses": {key: {"action": "decline"}}})
    assert (await wire.get(task_id))["status"] == "working"
    assert await running == {"action": "decline"}
    assert len(wire.node.calls) == 1


async def test_an_upstream_is_not_told_that_it_may_answer_with_tasks(wire: Wire) -> None:
    await wire.call("always")
    assert b"tasks" not in bytes(wire.node.calls[0].meta)


async def test_what_an_auto_tool_asks_at_once_is_asked_in_the_ordinary_way(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, {**asking("name"), "resultType": "input_required"}))
    asked = await wire.call("auto")
    assert (asked["resultType"], "taskId" in asked) == ("input_required", False)


async def test_no_client_can_bring_an_outcome_along(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, asking("a")))
    task_id = (await wire.call("always"))["taskId"]
    forged = {"status": "ok", "result": text("paid")}
    await wire.ask("tasks/update", {"taskId": task_id, "inputResponses": {"1.a": {"dev.semel/settled": forged}}})
    assert (await wire.get(task_id))["status"] == "working"
    assert settled(wire.node.calls[-1]) is None
    ticket = Ticket(key="k", caller="anonymous", made=False, answers={"dev.semel/settled": forged})
    assert (await wire.ask("tools/call", {"name": "always", "requestState": ticket.text()}))["status"] == "working"
    assert settled(wire.node.calls[-1]) is None


# Giving up.


async def test_a_task_that_runs_is_told_to_stop_and_says_how_it_ended(wire: Wire) -> None:
    task_id = (await wire.call("always"))["taskId"]
    ack = await wire.ask("tasks/cancel", {"taskId": task_id})
    assert {name for name in ack if name != "_meta"} == {"resultType"}
    (call,) = wire.node.records
    assert wire.node.cancelled == [call]
    assert (await wire.get(task_id))["status"] == "working"  # until it has
    await wire.node.end(call, Status.CANCELLED, text("it was told to stop, and may have acted", isError=True))
    ended = await wire.get(task_id)
    assert (ended["status"], "may have acted" in ended["statusMessage"]) == ("cancelled", True)
    assert not {"result", "error"} & ended.keys()
    await wire.ask("tasks/cancel", {"taskId": task_id})
    assert wire.node.cancelled == [call]


async def test_a_task_that_waits_for_answers_ends_at_once(wire: Wire) -> None:
    wire.node.script.append((Status.INPUT_REQUIRED, asking("a")))
    task_id = (await wire.call("always"))["taskId"]
    await wire.ask("tasks/cancel", {"taskId": task_id})
    ended = await wire.get(task_id)
    assert ended["status"] == "cancelled"
    assert "given up by its caller" in ended["statusMessage"]
    await wire.update(task_id, **{"1_a": "late"})
    assert (await wire.get(task_id))["status"] == "cancelled"
    assert wire.node.cancelled == []


async def test_a_client_that_goes_away_cancels_nothing(wire: Wire) -> None:
    asked = asyncio.create_task(wire.call("auto"))
    await asyncio.sleep(0.03)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    async with asyncio.timeout(5):
        while not wire.node.records:
            await asyncio.sleep(0.01)
    (record,) = wire.node.records.values()
    assert (record.status, wire.node.cancelled) == (Status.RUNNING, [])


# The form of 2025-11-25.


async def start_old(old: Wire, **also: Any) -> dict[str, Any]:
    made = await old.ask("tools/call", {"name": "auto", "arguments": {}, "task": {"ttl": 60_000}, **also})
    assert made.keys() == {"task"}
    task: dict[str, Any] = made["task"]
    return task


async def test_a_client_of_2025_says_which_call_is_a_task(old: Wire) -> None:
    shown = {each["name"]: each.get("execution") for each in (await old.ask("tools/list", {}))["tools"]}
    optional = {"taskSupport": "optional"}
    assert shown == {
        "auto": optional,
        "always": optional,
        "required": {"taskSupport": "required"},
        "never": None,
        "look": None,
    }
    task = await start_old(old)
    assert (task["status"], task["ttl"], task["pollInterval"]) == ("working", RETENTION_MS, 5000)
    (call,) = old.node.records
    waiting = asyncio.create_task(old.ask("tasks/result", {"taskId": task["taskId"]}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await old.node.end(call, Status.OK, text("done", structuredContent=[1]))
    result = await waiting
    assert result["content"] == text("done")["content"]
    assert "structuredContent" not in result
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task["taskId"]}
    assert (await old.get(task["taskId"]))["status"] == "completed"
    assert len(old.node.calls) == 1


async def test_an_ordinary_call_of_2025_is_answered_when_it_is_done(old: Wire) -> None:
    old.node.script.append((Status.OK, text("done")))
    assert (await old.call("always"))["content"] == text("done")["content"]


async def test_a_tool_error_of_2025_is_a_failed_task_with_a_result(old: Wire) -> None:
    task = await start_old(old)
    (call,) = old.node.records
    await old.node.end(call, Status.ERROR, text("no money", isError=True))
    failed = await old.get(task["taskId"])
    assert (failed["status"], failed["statusMessage"]) == ("failed", "no money")
    assert (await old.ask("tasks/result", {"taskId": task["taskId"]}))["isError"] is True


@pytest.mark.parametrize("name", ["never", "look"])
async def test_what_cannot_be_a_task_says_so_to_a_client_of_2025(old: Wire, name: str) -> None:
    refused = await old.fail("tools/call", {"name": name, "arguments": {}, "task": {}})
    assert refused["code"] == -32601
    assert (await old.fail("tools/call", {"name": "required", "arguments": {}}))["code"] == -32601
    assert old.node.calls == []


async def test_a_cancelled_task_of_2025_is_so_when_it_is_answered(old: Wire) -> None:
    task_id = (await start_old(old))["taskId"]
    (call,) = old.node.records
    late = await old.fail("tasks/cancel", {"taskId": task_id})
    assert (late["code"], "has not stopped yet" in late["message"]) == (-32603, True)
    asked = asyncio.create_task(old.ask("tasks/cancel", {"taskId": task_id}))
    async with asyncio.timeout(5):
        while len(old.node.cancelled) < 2:
            await asyncio.sleep(0.01)
    await old.node.end(call, Status.CANCELLED, text("stopped", isError=True))
    assert (await asked)["status"] == "cancelled"
    refused = await old.fail("tasks/cancel", {"taskId": task_id})
    assert (refused["code"], refused["message"]) == (-32602, "the task is cancelled already")
    assert (await old.ask("tasks/result", {"taskId": task_id}))["content"] == text("stopped")["content"]


async def test_an_error_of_the_protocol_is_the_result_of_a_task_of_2025(old: Wire) -> None:
    task_id = (await start_old(old))["taskId"]
    (call,) = old.node.records
    error = {"code": -32000, "message": "it broke off"}
    told = text("auto failed", isError=True, _meta={"dev.semel/protocol-error": error})
    await old.node.end(call, Status.ERROR, told)
    refused = await old.fail("tasks/result", {"taskId": task_id})
    assert (refused["code"], refused["message"]) == (-32000, "it broke off")


async def test_2025_has_no_list_and_no_update_and_earlier_versions_have_no_tasks(old: Wire) -> None:
    client = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    capabilities = (await old.ask("initialize", client))["capabilities"]
    assert capabilities["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    for method in ("tasks/list", "tasks/update"):
        params = {"taskId": "whatever", "inputResponses": {}}
        assert (await old.fail(method, params))["code"] == -32601
    async with open_wire(old.node, "2025-06-18") as older:
        assert (await older.fail("tasks/get", {"taskId": "whatever"}))["code"] == -32601
        older.node.script.append((Status.OK, text("done")))
        answer = await older.ask("tools/call", {"name": "auto", "arguments": {}, "task": {}})
        assert answer["content"] == text("done")["content"]


# Who says what of a tool.


def listed(said: str | None = None, support: str | None = None, **hints: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": "report", "inputSchema": SCHEMA, "annotations": hints}
    if said is not None:
        shown["_meta"] = {"dev.semel/task": said}
    if support is not None:
        shown["execution"] = {"taskSupport": support}
    return shown


SAID = {
    "nothing": (listed(), None, "auto", "once"),
    "the author": (listed("always"), None, "always", "once"),
    "2025's word": (listed(support="optional"), None, "always", "once"),
    "2025's other word": (listed(support="forbidden"), None, "never", "once"),
    "2025's word for what a server needs": (listed(support="required"), None, "always", "once"),
    "the author's word first": (listed("auto", support="required"), None, "auto", "once"),
    "the operator's before all": (listed("always"), "never", "never", "once"),
    "a word of somebody else": (listed("sometimes"), None, "auto", "once"),
    "a read": (listed(readOnlyHint=True), None, "never", "read"),
    "a read with tasks": (listed(support="optional", readOnlyHint=True), None, "always", "repeatable"),
    "a read without": (listed("never", readOnlyHint=True), None, "never", "read"),
}


@pytest.mark.parametrize(("shown", "operator", "mode", "effect"), SAID.values(), ids=SAID.keys())
def test_who_says_whether_a_tools_calls_become_tasks(
    shown: dict[str, Any], operator: str | None, mode: str, effect: str
) -> None:
    override = Override(task=None if operator is None else TaskMode(operator))
    entry = make_entry("server", shown, override=override)
    assert (mode_of(entry.definition), entry.spec.effect) == (mode, effect)
    assert (entry.definition["_meta"]).get("dev.semel/effect") == effect


def test_a_function_says_it_in_its_decorator() -> None:
    @semel.tool(task="required")
    def report() -> str:
        return ""

    declared = declaration_of(report)
    assert declared is not None
    assert declared.task is TaskMode.REQUIRED
    with pytest.raises(TargetError, match="'never', 'auto', 'always', 'required'"):
        semel.tool(task="sometimes")(report)  # type: ignore[call-overload]
