"""The tool on Celery: a task, whose ID is the key. Celery's own command runs the workers; run as a program, it asks."""

import os
import time

import effect
import lines
from celery import Celery

app = Celery("calls", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    task_acks_late=os.environ["ACKS"] == "late",
    task_reject_on_worker_lost=os.environ["ACKS"] == "late",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Redis gives back what a dead worker held when it has been silent for so long; an hour is the default.
    broker_transport_options={
        "visibility_timeout": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


@app.task(name="charge")
def charge(key: str, amount: int) -> str:
    return effect.charge(key, amount)


def ask(key: str, amount: int) -> tuple[str, str]:
    """Send the task and look for its result; AsyncResult.get is not made for many threads, the backend is."""
    charge.apply_async((key, amount), task_id=key)
    while True:
        found = app.backend.get_task_meta(key, cache=False)
        if found["status"] in ("SUCCESS", "FAILURE"):
            return ("ok" if found["status"] == "SUCCESS" else "failed"), str(found["result"])
        time.sleep(0.05)


if __name__ == "__main__":
    lines.serve(ask)
