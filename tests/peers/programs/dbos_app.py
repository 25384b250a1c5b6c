"""The tool on DBOS: a step of a workflow, whose ID is the idempotency key. `worker` executes, `client` asks."""

import os
import sys
import threading

import effect
import lines
from dbos import DBOS, DBOSClient
from dbos import error as dbos_error

RECOVERIES = int(os.environ["RECOVERIES"])


@DBOS.step()
def charge(key: str, amount: int) -> str:
    return effect.charge(key, amount)


@DBOS.workflow(name="charging", max_recovery_attempts=RECOVERIES)
def charging(key: str, amount: int) -> str:
    return charge(key, amount)


def worker() -> None:
    DBOS(
        config={
            "name": "peers",
            "system_database_url": os.environ["DATABASE"],
            "executor_id": os.environ["NODE"],
            "application_version": "1",
        }
    )
    DBOS.launch()
    DBOS.register_queue("calls", polling_interval_sec=0.1)
    print("READY", flush=True)
    threading.Event().wait()


def client() -> None:
    database = DBOSClient(system_database_url=os.environ["DATABASE"], application_name="peers")

    def ask(key: str, amount: int) -> tuple[str, str]:
        options = {"workflow_name": "charging", "queue_name": "calls", "workflow_id": key, "app_version": "1"}
        handle = database.enqueue(options, key, amount)
        try:
            return "ok", handle.get_result(polling_interval_sec=0.1)
        except dbos_error.DBOSException as error:
            exceeded = "MaxRecoveryAttemptsExceeded" in type(error).__name__
            return "in_doubt" if exceeded else "failed", f"{type(error).__name__}: {error}"

    lines.serve(ask)


if __name__ == "__main__":
    {"worker": worker, "client": client}[sys.argv[1]]()
