"""A caller's program: requests as JSON lines in, answers as JSON lines out, many at a time."""

import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

THREADS = 256


def serve(ask: Callable[[str, int], tuple[str, str]]) -> None:
    """Answer every line of standard input with `ask(key, amount)`, which returns an outcome and a text."""
    lock = threading.Lock()

    def answer(request: dict) -> None:
        try:
            outcome, text = ask(request["key"], request["amount"])
        except Exception as error:  # whatever the peer's library raises is what its caller is told
            outcome, text = "failed", f"{type(error).__name__}: {error}"
        said = json.dumps({"number": request["number"], "outcome": outcome, "text": text})
        with lock:
            print(said, flush=True)

    with ThreadPoolExecutor(THREADS) as pool:
        for line in sys.stdin:
            pool.submit(answer, json.loads(line))
