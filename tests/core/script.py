"""The language of scenes: a command a line, what came of it below, two spaces in.

tools NAME EFFECT [by ARGUMENT]   tools that all nodes have; `by` names the argument that makes the lane
tools NAME EFFECT with hook       a tool with a reconcile hook; the hooks of all others say at once that there is none
lacks NODE TOOL                   but that node does not have it
limits NAME=VALUE ...             the limits of nodes that come after
nodes NODE ...                    nodes come up; they have not begun to follow
start NODE                        the node follows; the log's tail is where its replay ends
cluster NODE ...                  nodes, start and settle: the first one is elected

submit NODE TOOL KEY ARGUMENTS    a client asks; its ticket is the next number
ask NODE TOOL KEY ARGUMENTS       a client asks that has given no key: this one was made for it
answer NODE TOOL KEY/ROUND ARGUMENTS with ANSWERS
                                  a client begins the next round of its call with what the tool had asked for
abandon NODE TICKET               that client goes
append NODE                       the log decides what the node proposed, and tells it
land NODE                         the log decides, and the acknowledgement is under way
ack NODE                          it arrives
read NODE [POSITION]              the node follows to the tail, or to that position
tail NODE                         the log tells the node its tail, if it has asked
deliver [NODE ...]                messages under way arrive (at those nodes)
drop                              messages under way are lost
settle                            append, read, tail and deliver until nothing is left

end NODE RUN STATUS RESULT        a run of a tool ends
lost NODE RUN REASON              a run's tool is lost on the way
known NODE INTENT RESULT          a reconcile hook that the node asked knows that the tool acted
unknown NODE INTENT REASON        it does not
tick SECONDS                      time passes, in steps of half a second; whoever is awake shows a pulse
jump SECONDS                      every wall clock jumps, though no time has passed
gone NODE at NODE ...             these learn that its process is gone
found NODE at NODE ...            these learn that it answers
freeze NODE, thaw NODE            the node stands still, and wakes with all that it held
crash NODE                        the process dies; what it has proposed may still land
restart NODE [empty]              its next life, with its replica or without
drain NODE                        the node goes down on purpose
install NODE from NODE            it goes on from the other's replica, since the log no longer gives it what comes next
restore NODE                      the log and all other nodes are lost; it goes on from that node's replica
show ledger|nodes|log [NODE]
"""

import json

import msgspec

from semel.core.call import Effect, Status
from semel.core.limits import Limits
from semel.core.message import Abandoned, Drained, PeerFound, PeerLost, Reconciled

from .spoken import call_of, spell_entry, spell_ledger
from .stage import Stage, Tool


def replay(text: str) -> str:
    """Return a scene as it plays now: its commands and comments as they are, and what came of each command."""
    stage, lines = Stage(), []
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            perform(stage, line)
            lines += [f"  {said}" for said in stage.lines]
            stage.lines.clear()
    stage.judge()
    return "\n".join(lines) + "\n"


def perform(stage: Stage, line: str) -> None:
    command, _, rest = line.partition(" ")
    words = rest.split()
    match command, words:
        case "answer", [node, tool, key, *_]:
            arguments, _, answers = rest.split(maxsplit=3)[3].partition(" with ")
            stage.submit(node, tool, call_of(key), arguments, answers)
        case "submit", [node, tool, key, *_]:
            stage.submit(node, tool, call_of(key), json.dumps(json.loads(rest.split(maxsplit=3)[3])))
        case "ask", [node, tool, key, *_]:
            stage.submit(node, tool, call_of(key), json.dumps(json.loads(rest.split(maxsplit=3)[3])), keyed=False)
        case "end", [node, run, status, *_]:
            stage.end(node, int(run), Status(status), rest.split(maxsplit=3)[3])
        case "lost", [node, run, *reason]:
            stage.lose_tool(node, int(run), " ".join(reason))
        case "known", [node, intent, *_]:
            result = msgspec.Raw(rest.split(maxsplit=2)[2].encode())
            stage.tell(node, Reconciled(int(intent), result))
        case "unknown", [node, intent, *reason]:
            stage.tell(node, Reconciled(int(intent), None, " ".join(reason)))
        case "abandon", [node, ticket]:
            stage.step(node, Abandoned(int(ticket)))
        case "tick", [seconds]:
            stage.tick(round(float(seconds) * 1000))
        case "jump", [seconds]:
            stage.wall_ms += round(float(seconds) * 1000)
        case "show", [what, *names]:
            show(stage, what, names or stage.lives())
        case (("tools" | "lacks" | "limits"), _):
            prepare(stage, command, words)
        case (("append" | "land" | "ack" | "read" | "tail" | "deliver" | "drop" | "settle"), _):
            carry(stage, command, words)
        case _:
            befall(stage, command, words)


def prepare(stage: Stage, command: str, words: list[str]) -> None:
    match command, words:
        case "tools", [name, effect]:
            stage.tools[name] = Tool(Effect(effect))
        case "tools", [name, effect, "by", argument]:
            stage.tools[name] = Tool(Effect(effect), argument)
        case "tools", [name, effect, "with", "hook"]:
            stage.tools[name] = Tool(Effect(effect), hook=True)
        case "lacks", [node, tool]:
            stage.lacking.add((node, tool))
        case "limits", settings:
            values = dict(setting.split("=") for setting in settings)
            kinds = Limits.__annotations__
            stage.limits = Limits(**{name: kinds[name](value) for name, value in values.items()})
        case _:
            raise ValueError(f"no such command: {command} {words}")


def carry(stage: Stage, command: str, words: list[str]) -> None:
    """Do what the log and the network do."""
    match command, words:
        case "append", [node]:
            stage.append(node)
            stage.acknowledge(node)
        case "land", [node]:
            stage.append(node)
        case "ack", [node]:
            stage.acknowledge(node)
        case "read", [node, *position]:
            stage.read(node, int(position[0]) if position else None)
        case "tail", [node]:
            stage.confirm(node)
        case "deliver", names:
            stage.deliver(names or stage.players)
        case "drop", []:
            stage.network.clear()
        case "settle", []:
            stage.settle()
        case _:
            raise ValueError(f"no such command: {command} {words}")


def befall(stage: Stage, command: str, words: list[str]) -> None:
    """Do what happens to nodes."""
    match command, words:
        case "nodes", names:
            for name in names:
                stage.add(name)
        case "start", [node]:
            stage.start(node)
        case "cluster", [first, *others]:
            for name in (first, *others):
                stage.add(name)
                stage.start(name)
            stage.settle()
            stage.lines[:] = [f"{first} leads, and all have read to {len(stage.log)}"]
        case "gone", [node, "at", *others]:
            for other in others:
                stage.step(other, PeerLost(stage.players[node].id))
        case "found", [node, "at", *others]:
            for other in others:
                stage.step(other, PeerFound(stage.players[node].id))
        case "freeze", [node]:
            stage.players[node].awake = False
        case "thaw", [node]:
            stage.players[node].awake = True
        case "crash", [node]:
            stage.players[node].alive = False
        case "restart", [node, *how]:
            stage.add(node, keep=how != ["empty"])
        case "drain", [node]:
            stage.step(node, Drained())
        case "install", [node, "from", other]:
            stage.install(node, other)
        case "restore", [node]:
            stage.restore(node)
        case _:
            raise ValueError(f"no such command: {command} {words}")


def show(stage: Stage, what: str, names: list[str]) -> None:
    match what:
        case "ledger":
            player = stage.players[names[0]]
            evidence = list(player.archive.evidence)
            stage.lines += spell_ledger(player.decider.ledger, stage.records(names[0]), evidence)
        case "nodes":
            for name in names:
                decider = stage.players[name].decider
                states = [word for word in ("leads", "draining", "idle") if getattr(decider, word)]
                states.insert(0, "live" if decider.live else "reading")
                stage.say(f"{name} at {decider.ledger.position}: {', '.join(states)}")
        case "log":
            stage.lines += [f"{position}: {spell_entry(entry)}" for position, entry in enumerate(stage.entries(), 1)]
        case _:
            raise ValueError(f"nothing to show: {what}")
