"""Asks a process of ours, or another machine's, for JSON over HTTP. Knows nothing of what is asked.

The standard library is enough for it: a few small requests a second, none of which is on a call's way.
"""

import asyncio
import http.client
import json
import urllib.request
from typing import Any

ANSWER_S = 1.0
"""A process that is well answers within milliseconds; whoever asks asks again."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy, whatever the environment says: what is asked is here or on the next machine."""


class NoAnswer(Exception):
    """There was no answer, or none that says yes; the text says what came instead."""


async def get_json(url: str, *, timeout_s: float = ANSWER_S) -> Any:
    """Return what a GET of `url` answers.

    Raises:
        NoAnswer: nothing, something that is no JSON, or a refusal.
    """
    return await asyncio.to_thread(_ask, urllib.request.Request(url), timeout_s)


async def post_json(url: str, body: Any, *, timeout_s: float = ANSWER_S) -> Any:
    """Return what a POST of `body` to `url` answers; errors as `get_json`."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return await asyncio.to_thread(_ask, request, timeout_s)


def _ask(request: urllib.request.Request, timeout_s: float) -> Any:
    try:
        with _direct.open(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise NoAnswer(f"{error.code}: {error.read(500).decode(errors='replace').strip()}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswer(str(error)) from error
