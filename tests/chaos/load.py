"""The load: callers that make calls, ask again, ask twice at once, give up, and use a key for something else.

Most are `semel.connect`; some are the SDK's own client, of both protocol eras, with retries made by hand.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import mcp

import semel
from semel.errors import CallError, SemelError, by_code
from semel.gateway import meta
from semel.gateway.answers import Answer, read_answer
from semel.gateway.clients.client import Client
from tests.chaos.book import CALLER, Asked, Book, told_of

CALLERS = 12
SDK_CALLERS = 2
PATIENCE_S = 20.0
ATTEMPT_S = 2.5
"""One node may take so long before the next is asked: longer than the tools here take."""
CALM_S = 40.0
AGAIN_AMONG = 300
EPOCH_S = 6.0
"""Each register and counter is used for so long: a short history is checked quickly, and many are as good as one."""

logging.getLogger("mcp").setLevel(logging.CRITICAL)  # broken connections, of which the SDK would print each

Ask = Callable[[str, Mapping[str, Any], str, float], Awaitable[Answer]]


class Load:
    """All callers of one run; they keep one book."""

    def __init__(self, urls: list[str], seed: int, *, callers: int = CALLERS, sdk_callers: int = SDK_CALLERS) -> None:
        self.book = Book()
        self._urls = urls
        self._seed = seed
        self._sizes = callers, sdk_callers
        self._begun_s = time.monotonic()
        self._swept = 0
        self.apart: set[str] = set()
        """Keys that no caller is to repeat before the sweep."""
        self._stop = asyncio.Event()
        self._callers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let the callers begin."""
        self._stop.clear()
        self._callers = [
            asyncio.create_task(self._caller(number, len(self.book.asked)), name=f"caller {number}")
            for number in range(sum(self._sizes))
        ]

    async def finish(self) -> None:
        """Let the callers finish what they have begun, and end."""
        self._stop.set()
        for caller in self._callers:
            await caller

    async def cancel(self) -> None:
        """End the callers at once."""
        for caller in self._callers:
            caller.cancel()
        if self._callers:
            await asyncio.wait(self._callers)

    async def sweep(self) -> None:
        """Ask in the calm, once more and with patience, for everything that was asked since the last sweep."""
        since, self._swept = self.book.asked[self._swept :], len(self.book.asked)
        left = iter(list({(asked.key, asked.digest): asked for asked in since}.values()))

        async def sweeper(number: int) -> None:
            async with semel.connect(*self._from(number), caller=CALLER, attempt_timeout_s=ATTEMPT_S) as client:
                for asked in left:
                    await self._ask(_asking(client), asked.tool, asked.arguments, asked.key, CALM_S, calm=True)

        await asyncio.gather(*map(sweeper, range(self._sizes[0])))
        self._swept = len(self.book.asked)

    def _from(self, number: int) -> list[str]:
        at = number % len(self._urls)
        return self._urls[at:] + self._urls[:at]

    async def ask(self, urls: list[str], tool: str, arguments: Mapping[str, Any], key: str, patience_s: float) -> Asked:
        """Ask for one call at these nodes only; return what came of it, which is in the book too."""
        async with semel.connect(*urls, caller=CALLER, attempt_timeout_s=patience_s) as client:
            return await self._ask(_asking(client), tool, arguments, key, patience_s)

    async def _ask(
        self, ask: Ask, tool: str, arguments: Mapping[str, Any], key: str, patience_s: float, *, calm: bool = False
    ) -> Asked:
        """Ask, and write down what came of it."""
        asked = Asked(key, tool, arguments, time.monotonic(), calm)
        self.book.asked.append(asked)
        try:
            answer = await ask(tool, arguments, key, patience_s)
        except CallError as error:
            asked.refusal = error.code
        except SemelError as error:
            asked.trouble = str(error)
        else:
            asked.told = told_of(answer)
        asked.ended_s = time.monotonic()
        return asked

    async def _caller(self, number: int, epoch: int) -> None:
        """Make one call after the other until told to stop."""
        dice = random.Random(f"{self._seed}-{epoch}-{number}")
        keys = (f"{epoch}-{number}-{count}" for count in itertools.count())
        urls = self._from(number)
        async with semel.connect(*urls, caller=CALLER, attempt_timeout_s=ATTEMPT_S) as client:
            other = semel.connect(*reversed(urls), caller=CALLER, attempt_timeout_s=ATTEMPT_S)
            async with other:
                own = _asking(client) if number < self._sizes[0] else _sdk_asking(urls, dice)
                while not self._stop.is_set():
                    await asyncio.gather(*self._next(dice, own, _asking(other), next(keys)))

    def _next(self, dice: random.Random, own: Ask, other: Ask, key: str) -> Iterator[Awaitable[Asked]]:
        """Yield what a caller does next: mostly one asking, sometimes two at once."""
        draw = dice.random()
        recent = [asked for asked in self.book.asked[-AGAIN_AMONG:] if asked.key not in self.apart]
        if draw < 0.1 and recent:
            again = dice.choice(recent)
            yield self._ask(own, again.tool, again.arguments, again.key, PATIENCE_S)
            return
        tool, arguments = self._something(dice, key)
        if draw < 0.2:
            yield self._ask(own, tool, arguments, key, dice.uniform(0.01, 0.3))  # gives up
            return
        yield self._ask(own, tool, arguments, key, PATIENCE_S)
        if draw < 0.3:
            yield self._ask(other, tool, arguments, key, PATIENCE_S)
        elif draw < 0.35:
            yield self._ask(other, *_something_else(tool, arguments), key, PATIENCE_S)

    def _something(self, dice: random.Random, key: str) -> tuple[str, dict[str, Any]]:
        """Return a tool and its arguments."""
        tool = dice.choices(
            ("append", "store", "look", "hang", "read", "write", "swap", "add"), (24, 12, 4, 1, 12, 8, 12, 16)
        )[0]
        epoch = int((time.monotonic() - self._begun_s) / EPOCH_S)
        register, counter = f"register-{epoch}-{dice.randrange(2)}", f"counter-{epoch}-{dice.randrange(2)}"
        match tool:
            case "append":
                fails = {"fail": True} if dice.random() < 0.05 else {}
                return tool, {"line": key, "before_s": _wait_s(dice), "after_s": _wait_s(dice), **fails}
            case "store":
                return tool, {"line": key, "before_s": _wait_s(dice), "after_s": _wait_s(dice)}
            case "look" | "hang":
                return tool, {"line": key}
            case "read":
                return tool, {"name": dice.choice((register, counter))}
            case "write":
                return tool, {"name": register, "value": dice.randrange(4)}
            case "swap":
                return tool, {"name": register, "expected": dice.randrange(4), "new": dice.randrange(4)}
            case "add":
                return tool, {"name": counter, "amount": dice.randint(1, 9)}
        raise AssertionError(tool)


def _wait_s(dice: random.Random) -> float:
    return dice.choice((0.0, 0.0, 0.01, 0.05, 0.3))


def _something_else(tool: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return another call than this one, for the same key."""
    other = dict(arguments)
    match arguments:
        case {"line": line}:
            other["line"] = f"{line} else"
        case {"name": _, "amount": amount}:
            other["amount"] = amount + 1
        case {"name": _, "value": value}:
            other["value"] = value + 1
        case {"name": _, "new": new}:
            other["new"] = new + 1
        case {"name": name}:
            other["name"] = f"{name}-else"
    return tool, other


def _asking(client: Client) -> Ask:
    async def ask(tool: str, arguments: Mapping[str, Any], key: str, patience_s: float) -> Answer:
        return await client.call(tool, arguments, key=key, timeout_s=patience_s)

    return ask


def _sdk_asking(urls: list[str], dice: random.Random) -> Ask:
    """Ask with the SDK's own client: a connection a time, the next node after any failure."""

    async def ask(tool: str, arguments: Mapping[str, Any], key: str, patience_s: float) -> Answer:
        deadline_s = time.monotonic() + patience_s
        said = {meta.KEY: key, meta.CALLER: CALLER}
        why: object = "no time"
        for url in itertools.cycle(urls):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise SemelError(f"no answer within {patience_s:g} s: {why!r}")
            try:
                async with (
                    asyncio.timeout(min(left_s, ATTEMPT_S)),
                    mcp.Client(f"{url}/mcp", mode=dice.choice(("auto", "legacy"))) as client,
                ):
                    result = await client.call_tool(tool, dict(arguments), meta=said)  # type: ignore[arg-type]
                return read_answer(result.model_dump(by_alias=True, mode="json", exclude_none=True))
            except Exception as error:  # whatever the SDK makes of a broken connection: ask the next one
                if (refusal := _refusal(error)) is not None:
                    raise refusal from error
                why = error
                await asyncio.sleep(min(0.1, max(0.0, left_s)))
        raise AssertionError("unreachable")

    return ask


def _refusal(error: BaseException) -> CallError | None:
    """Return the node's own refusal, if it is one that asking again cannot mend."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _refusal(each)) is not None), None)
    if isinstance(error, mcp.MCPError) and isinstance(error.data, dict) and error.data.get("source") == "semel":
        told = by_code(str(error.data.get("code")), error.message)
        return told if isinstance(told, CallError) else None
    return None
