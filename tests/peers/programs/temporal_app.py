"""The tool on Temporal: an activity of a workflow, whose ID is the key. `worker` executes, `client` asks."""

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, TimeoutError, WorkflowAlreadyStartedError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import effect
    import lines

QUEUE = "calls"


@activity.defn
def charge(key: str, amount: int) -> str:
    return effect.charge(key, amount, activity.heartbeat)


@workflow.defn
class Charging:
    @workflow.run
    async def run(self, key: str, amount: int, attempts: int) -> str:
        return await workflow.execute_activity(
            charge,
            args=[key, amount],
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=timedelta(seconds=2),  # a dead worker is noticed by its silence
            retry_policy=RetryPolicy(maximum_attempts=attempts),  # 0 is the default: without end
        )


async def worker() -> None:
    client = await Client.connect(os.environ["ADDRESS"])
    with ThreadPoolExecutor(64) as pool:
        async with Worker(client, task_queue=QUEUE, workflows=[Charging], activities=[charge], activity_executor=pool):
            print("READY", flush=True)
            await asyncio.Event().wait()


async def call(client: Client, key: str, amount: int) -> tuple[str, str]:
    try:
        handle = await client.start_workflow(
            Charging.run,
            args=[key, amount, int(os.environ["ATTEMPTS"])],
            id=key,
            task_queue=QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    except WorkflowAlreadyStartedError:
        handle = client.get_workflow_handle(key)
    try:
        return "ok", await handle.result()
    except WorkflowFailureError as error:
        timed_out = isinstance(error.cause, ActivityError) and isinstance(error.cause.cause, TimeoutError)
        return "in_doubt" if timed_out else "failed", f"{error}: {error.cause}: {getattr(error.cause, 'cause', '')}"


def client() -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    connected = asyncio.run_coroutine_threadsafe(Client.connect(os.environ["ADDRESS"]), loop).result()
    lines.serve(lambda key, amount: asyncio.run_coroutine_threadsafe(call(connected, key, amount), loop).result())


if __name__ == "__main__":
    asyncio.run(worker()) if sys.argv[1] == "worker" else client()
