"""The fire: calls in flight, kill -9 in the middle, restart, and everything that came of it into a book."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.judge import Effect, Round, Second, Told, Verdict, judge, second_of
from tests.peers.peer import EFFECTS, Answer, Peer, Unreachable
from tests.processes.cluster import until

CALLS = 24
AMOUNT, OTHER_AMOUNT = 5, 7
ANSWER_LIMIT_S = 25.0
WINDOW_S = 0.6  # the tool takes a second: a kill so soon after its first start, and a little, finds it running


@dataclass
class Book:
    """What one peer's tools did and its callers were told."""

    folder: Path
    told: dict[str, Told] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)

    def effects(self) -> list[Effect]:
        path = self.folder / EFFECTS
        return [Effect.parse(line) for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self, keys: Sequence[str]) -> list[Effect]:
        return [effect for effect in self.effects() if effect.key in keys]

    def verdict(self) -> Verdict:
        return judge(self.rounds, self.effects(), self.told, self.seconds, AMOUNT)


async def ask(peer: Peer, key: str, amount: int = AMOUNT) -> Answer | None:
    """Ask, and ask again with the same key as long as nobody is reached; None if no answer came in time."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while True:
                try:
                    return await peer.submit(key, amount)
                except Unreachable:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        return None


async def call(peer: Peer, book: Book, key: str) -> None:
    answer = await ask(peer, key)
    if answer is not None:
        book.told[key] = Told(answer, time.time())


async def in_the_middle(book: Book, keys: Sequence[str], dice: random.Random) -> list[int]:
    """Wait until the calls run; return the process groups that run them, the busiest first."""
    await until(lambda: book.begun(keys), limit_s=20, what="the first call to begin")
    while time.time() < min(effect.at_s for effect in book.begun(keys)) + WINDOW_S:
        if len({effect.key for effect in book.begun(keys)}) == len(keys):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(dice.uniform(0, 0.25))
    running = Counter(effect.process for effect in book.begun(keys) if effect.key not in book.told)
    return [process for process, _ in running.most_common()]


async def probe(peer: Peer, book: Book, number: int, killed_s: float) -> float | None:
    """Make new calls until the tool of one begins; return how long after the kill that was."""
    asking: list[asyncio.Task[Answer | None]] = []
    keys: list[str] = []
    while not book.begun(keys) and time.time() < killed_s + ANSWER_LIMIT_S:
        keys.append(f"probe-{number}-{len(keys)}")
        asking.append(asyncio.create_task(ask(peer, keys[-1])))
        await asyncio.sleep(0.1)
    begun = book.begun(keys)
    await asyncio.gather(*asking)
    return min(effect.at_s for effect in begun) - killed_s if begun else None


async def fight(peer: Peer, book: Book, number: int, dice: random.Random) -> None:
    """One round: calls, a kill, a restart, and a second request with other arguments."""
    keys = tuple(f"{number}-{count}" for count in range(CALLS))
    calls = [asyncio.create_task(call(peer, book, key)) for key in keys]
    try:
        busiest = await in_the_middle(book, keys, dice)
        killed_s = time.time()
        killed = await peer.kill(busiest, dice)
        probing = asyncio.create_task(probe(peer, book, number, killed_s))
        await peer.restart()
        await asyncio.gather(*calls)
        book.rounds.append(Round(keys, killed_s, killed, await probing))
    finally:
        for each in calls:
            each.cancel()
    answered = [key for key in keys if key in book.told]
    succeeded = [key for key in answered if book.told[key].answer.outcome == "ok"]
    if answered:
        book.seconds.append(await ask_otherwise(peer, book, dice.choice(succeeded or answered)))


async def ask_otherwise(peer: Peer, book: Book, key: str) -> Second:
    again = await ask(peer, key, OTHER_AMOUNT)
    await asyncio.sleep(1.0)  # an answer from the first call may come before a second run begins
    ran = any(effect.amount == OTHER_AMOUNT for effect in book.begun([key]))
    return second_of(book.told[key].answer, again, ran=ran)


async def warm_up(peer: Peer) -> None:
    """Make as many calls as a round does, without a kill: each has to succeed."""
    keys = [f"warm-{count}" for count in range(CALLS)]
    for key, answer in zip(keys, await asyncio.gather(*(ask(peer, key) for key in keys)), strict=True):
        assert answer == Answer("ok", f"charged {key} {AMOUNT}"), f"a call without any kill got {answer}"


async def fire(peer: Peer, folder: Path, rounds: int, seed: int, limit_s: float) -> Verdict:
    """Put one peer under fire; the verdict is of the rounds that fit into the limit."""
    book, dice = Book(folder), random.Random(f"{seed} {peer.title}")
    deadline_s = time.monotonic() + limit_s
    try:
        await peer.start(folder)
        await warm_up(peer)
        for number in range(rounds):
            if time.monotonic() > deadline_s - ANSWER_LIMIT_S and book.rounds:
                break
            await fight(peer, book, number, dice)
            print(f"  kill {number + 1}: new call begun after {book.rounds[-1].served_s} s", flush=True)
    finally:
        await peer.stop()
        for told in {told.answer.outcome: told for told in book.told.values()}.values():
            print(f"  an answer: {told.answer.outcome}, {told.answer.text[:200]!r}", flush=True)
    return book.verdict()
