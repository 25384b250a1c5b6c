"""The manifest: what is promised, and for each promise what shows it, layer by layer.

`test_guarantees.py` holds it both ways: a promise that nothing shows in some layer fails, and so does a scene, a
check, a mutant or a test module of these layers that shows no promise and is not named in `BESIDE`, with what it is
there for. The README's promises and the table in `docs/GUARANTEES.md` are checked against it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import semel.sim.judge as sim
import tests.chaos.judge as chaos

Check = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise. A layer that has nothing to show for it says why in its place."""

    number: int
    name: str
    text: str
    scenes: tuple[str, ...]
    """The core alone: files in tests/core/scenes, without their ending; `test_scenes` replays them."""
    core: tuple[str, ...] | str
    """Test modules in tests/core: the core's parts, whole values compared."""
    simulated: tuple[Check, ...]
    """Checks of the simulator's judge over every seed."""
    mutants: tuple[str, ...]
    """Broken cores, by what they do wrong, that those checks must catch."""
    log: tuple[str, ...] | str
    """Test modules in tests/log: the contract over all engines, and what is one engine's own."""
    node: tuple[str, ...] | str
    """Test modules in tests/node: the real runtime, in one process."""
    processes: tuple[str, ...]
    """Test modules in tests/processes, tests/chaos, tests/hosts and tests/real: real processes that really die."""
    chaos: tuple[Check, ...]
    """Checks of the judge over real processes."""


_NOT_THE_LOGS = "the log knows no calls: this is the core's"

PROMISES = (
    Promise(
        number=1,
        name="One outcome",
        text="A call (caller and key) has at most one outcome. Whoever asks, on any node, however often, gets that "
        "one. (A tool that asks its caller for more ends a round of its call; then each round has at most one.)",
        scenes=(
            "call_on_the_leader",
            "call_through_a_follower",
            "concurrent_duplicates",
            "evidence",
            "forgotten_at_the_leader",
            "lost_after_settled",
            "resignation_hands_over",
            "retry_elsewhere",
            "rounds",
            "two_reads_of_one_key",
        ),
        core=("test_decider", "test_ledger"),
        simulated=(sim.answers_are_the_outcome, sim.final_answers_agree, sim.outcomes_are_true),
        mutants=(
            "takes the last outcome instead of the first",
            "drops waiting callers at a change of term",
            "answers a read without the log although others may ask",
            "drops waiting callers at a peer's snapshot",
            "says replayed of every answer",
        ),
        log=_NOT_THE_LOGS,
        node=("test_runtime",),
        processes=(
            "test_tasks",
            "test_nodes",
            "test_author",
            "test_connect",
            "test_fire",
            "test_chaos",
            "test_cuts",
            "test_deaths",
            "test_troubles",
            "test_failover",
        ),
        chaos=(chaos.answers_are_in_the_log, chaos.one_key_is_one_call, chaos.histories_are_linearizable),
    ),
    Promise(
        number=2,
        name="At most one start",
        text="A tool that is not declared repeatable is started at most once per call, or per round that it asked for, "
        "whatever crashes, stalls or splits.",
        scenes=(
            "acknowledged_after_reading",
            "concurrent_duplicates",
            "deposed_while_appending",
            "installed_snapshot",
            "jumping_clock",
            "late_acknowledgement",
            "leader_dies",
            "leader_dies_in_a_round",
            "never_started",
            "replay_acts_on_nothing",
            "round_forgotten_under_way",
            "rounds_that_nobody_asked_for",
            "stale_before_live",
            "thawed_leader",
        ),
        core=("test_decider", "test_ledger"),
        simulated=(sim.starts_are_covered, sim.once_is_at_most_once, sim.rounds_were_asked_for),
        mutants=(
            "runs a tool before its intent is committed",
            "runs once calls again at a takeover",
            "runs a stale key again under another name",
            "forgets dedupe at a snapshot",
            "begins a round that none before it asked for",
            "takes any requestState",
            "begins a round again when the next one has begun",
        ),
        log=_NOT_THE_LOGS,
        node=("test_runtime",),
        processes=(
            "test_nodes",
            "test_author",
            "test_connect",
            "test_connect_passes",
            "test_fire",
            "test_chaos",
            "test_cuts",
            "test_deaths",
            "test_troubles",
            "test_rolling",
            "test_failover",
        ),
        chaos=(chaos.effects_have_an_intent, chaos.once_is_once, chaos.histories_are_linearizable),
    ),
    Promise(
        number=3,
        name="Repeatable calls finish",
        text="A call of a repeatable tool, once its intent is committed, gets an outcome as long as the log can be "
        "written and a node lives. (One that keeps killing its executor ends as an error after five attempts.)",
        scenes=(
            "attempts_used_up",
            "evidence",
            "late_acknowledgement_in_reign",
            "leader_dies",
            "leader_dies_in_a_round",
            "lost_tools",
            "lost_while_deposed",
            "never_begun_and_leads_again",
            "resignation_with_a_repeatable_call",
        ),
        core=("test_decider", "test_ledger"),
        simulated=(sim.calls_come_to_an_end, sim.all_is_well_in_the_end),
        mutants=(
            "does not attempt repeatable calls again at a takeover",
            "loses open calls at a snapshot",
            "loses sight of a committed append that is not read back",
            "takes for attended what it has itself lost",
        ),
        log=_NOT_THE_LOGS,
        node=("test_runtime",),
        processes=("test_tasks", "test_author", "test_fire", "test_chaos", "test_cuts", "test_deaths", "test_failover"),
        chaos=(chaos.calls_come_to_an_end, chaos.the_calm_answers_all),
    ),
    Promise(
        number=4,
        name="Answered is durable",
        text="Before an answer leaves, its outcome is on disk in the log: fsynced on one machine, on a majority of "
        "machines with etcd. (A read for which no key was given is answered without the log if that cannot be written "
        "for 2 s; the answer says so.)",
        scenes=(
            "call_on_the_leader",
            "call_through_a_follower",
            "read_that_the_log_does_not_take",
            "read_without_an_intent",
        ),
        core=("test_decider",),
        simulated=(sim.answers_are_the_outcome,),
        mutants=("answers before the outcome is durable",),
        log=(
            "test_log_contract",
            "test_etcd_outages",
            "test_etcd_unknown",
            "test_sqlite_processes",
            "test_sqlite_trouble",
        ),
        node=("test_runtime",),
        processes=("test_fire", "test_chaos", "test_deaths", "test_troubles"),
        chaos=(chaos.answers_are_in_the_log, chaos.outcomes_stay),
    ),
    Promise(
        number=5,
        name="One history",
        text="Every node reads the same entries in the same order, and any node can serve the audit. A linearizable "
        "read says so and is so.",
        scenes=(
            "call_through_a_follower",
            "forgetting",
            "installed_before_live",
            "installed_snapshot",
            "jumping_clock",
            "restart_from_a_snapshot",
            "restored_log",
            "rounds_forgotten",
        ),
        core=("test_codec", "test_ledger"),
        simulated=(sim.ledgers_are_equal,),
        mutants=(
            "forgets by a node's own clock",
            "forgets calls that are open",
            "forgets the rounds of a call one by one",
            "forgets dedupe at a snapshot",
            "loses open calls at a snapshot",
        ),
        log=(
            "test_log_contract",
            "test_etcd_outages",
            "test_etcd_unknown",
            "test_sqlite_processes",
            "test_sqlite_trouble",
        ),
        node=("test_reach", "test_replica", "test_restoring", "test_runtime", "test_snapshot"),
        processes=("test_fire", "test_chaos", "test_cuts", "test_deaths", "test_troubles"),
        chaos=(chaos.audits_are_the_log,),
    ),
    Promise(
        number=6,
        name="Doubt is said, never guessed",
        text="If the executor died between intent and outcome, the tool's reconcile hook is asked; if there is none, "
        "or it does not know, the call is in doubt, and says so. A late outcome settles it. Nothing settles it "
        "silently.",
        scenes=(
            "doubt_is_the_newest_word",
            "hold_and_expiry",
            "hook_does_not_know",
            "hook_knows",
            "hook_of_a_deposed_leader",
            "late_outcome",
            "leader_dies",
            "lost_tools",
            "never_started",
            "outcome_before_doubt",
            "passed_on",
            "silent_leader",
        ),
        core=("test_decider", "test_findings", "test_ledger", "test_refusals"),
        simulated=(
            sim.doubts_are_real,
            sim.doubt_is_the_last_word,
            sim.outcomes_are_true,
            sim.hooks_are_asked_first,
            sim.hooks_are_believed,
        ),
        mutants=(
            "asks a hook twice",
            "says in doubt without asking the hook",
            "takes a hook that does not know for a no, and runs again",
            "takes a hook that does not know for a yes",
            "takes doubt for an outcome",
            "takes its runs for never begun at a peer's snapshot",
            "settles a doubt by guessing",
            "never says in doubt",
            "writes outcomes only while it leads",
            "says in doubt without asking for the last word",
        ),
        log=_NOT_THE_LOGS,
        node=("test_runtime",),
        processes=(
            "test_tasks",
            "test_nodes",
            "test_author",
            "test_fire",
            "test_chaos",
            "test_cuts",
            "test_deaths",
            "test_failover",
        ),
        chaos=(chaos.doubts_have_a_death, chaos.calls_come_to_an_end, chaos.once_is_once, chaos.outcomes_stay),
    ),
    Promise(
        number=7,
        name="No split brain",
        text="Safety rests on the log alone. No clock, timeout or heartbeat can break it.",
        scenes=(
            "deposed_while_appending",
            "first_election",
            "late_acknowledgement",
            "lost_position",
            "silent_leader",
            "thawed_leader",
            "two_candidates",
        ),
        core=("test_decider", "test_ledger"),
        simulated=(sim.starts_are_covered,),
        mutants=("lets a deposed leader start tools", "runs a tool before its intent is committed"),
        log=("test_log_contract", "test_etcd_unknown", "test_sqlite_processes"),
        node="one process cannot be split; the simulator and the chaos do that",
        processes=("test_nodes", "test_fire", "test_chaos", "test_cuts", "test_deaths", "test_troubles"),
        chaos=(chaos.effects_have_an_intent, chaos.histories_are_linearizable),
    ),
    Promise(
        number=8,
        name="Same key, other arguments is an error",
        text="Never the old answer, never a new run.",
        scenes=("rounds_with_other_answers", "same_key_other_arguments"),
        core=("test_call", "test_decider"),
        simulated=(sim.answers_are_the_outcome, sim.refusals_are_true),
        mutants=(
            "answers a reused key with the other call's outcome",
            "answers a round with the outcome of other answers",
        ),
        log=_NOT_THE_LOGS,
        node=("test_runtime",),
        processes=("test_author", "test_chaos", "test_cuts"),
        chaos=(chaos.answers_are_in_the_log, chaos.one_key_is_one_call, chaos.refusals_are_deserved),
    ),
)

BESIDE = {
    # Scenes.
    "busy": "a limit: the node says busy instead of growing",
    "doubts_in_batches": "a limit: how much one append holds",
    "drain_during_a_long_tool": "a node that goes down on purpose leaves no gap to wait out",
    "forgotten_while_cut_off": "a refusal says that nothing was run, and that is so",
    "round_before_it_is_read": "a round is not refused for what its node has not read yet",
    "refused_while_proposed": "a refusal says that nothing was run, and that is so",
    "lane_of_a_refused_call": "serialize_by, a feature of a tool",
    "room_for_intents": "a limit: so many tools at once",
    "too_large_for_a_batch": "a limit: how much one append holds",
    "two_nodes_apart": "how fast a leader is found, never whether it is right",
    "concurrency_limit": "a limit: so many tools at once",
    "lanes": "serialize_by, a feature of a tool",
    "no_leader": "a client that cannot be served is told so in time",
    "refusal_by_the_leader": "a refusal finds its way back",
    "refusal_of_an_older_forward": "a refusal that is overtaken says nothing",
    "resignation": "a node that goes down on purpose leaves no gap to wait out",
    "small_batches": "a limit: how much one append holds",
    # Checks of the simulator, and the mutants that they catch.
    "tickets_are_bad": "a round is not refused for what its node has not read yet",
    "refuses a round without asking for the last word": "a round is not refused for what its node has not read yet",
    "lanes_hold": "serialize_by, a feature of a tool",
    "elections_come_to_rest": "how fast a leader is found, never whether it is right",
    "lets the calls of a lane overlap": "serialize_by, a feature of a tool",
    "frees a lane while its tool still runs": "serialize_by, a feature of a tool",
    "runs more tools at once than it may": "a limit: so many tools at once",
    "takes a refused forward when it comes once more": "a refusal says that nothing was run, and that is so",
    "refuses a call that it has proposed": "a refusal says that nothing was run, and that is so",
    "lets one leader's refusal speak for another leader": "a refusal says that nothing was run, and that is so",
    "deposes a leader that was elected after its connection broke": "how fast a leader is found",
    # Test modules.
    "test_admission": "the order in which calls begin, and serialize_by",
    "test_presence": "suspicion: how fast a leader is found, never whether it is right",
    "test_scenes": "replays the scenes, which are named one by one",
    "test_sqlite_opening": "which files are logs, and what is said of those that are none",
    "test_etcd_stream": "how the events of a stream are handed over; a follower judges them and believes none",
    "test_etcd_upkeep": "etcd stays small and closed to strangers",
    "test_etcd_address": "which URLs name a log in etcd, and what is said of those that do not",
    "test_peers": "the connections between nodes, which may lose anything",
    "test_place": "a node's name and folder on its machine",
    "test_advertise": "the URL that a node announces",
    "test_whereabouts": "the name and the URL under which a node is known",
    "test_judge": "that the judge of the chaos sees each breach",
    "test_linearizable": "that the checker of histories sees bad ones",
    "test_sessions": "older clients keep their sessions on any node, or are told to begin anew",
    "test_arrivals": "what arrives in one turn of the loop is taken together, in its order",
    "test_leisure": "how often an idle node reads the log, and never what it makes of it",
    "test_asides": "what passes beside the log, of which anything may be lost",
    "test_bench": "that the measurements can be made",
    "test_network": "that the hosts' wires can be cut, and that nothing of them stays",
    "test_relay": "that the chaos's connections can be cut",
    "test_servers": "servers that others wrote are served as they are, each call once",
    "test_typescript": "all of MCP passes, with real servers and clients at the ends",
    "test_inspector": "the Inspector's CLI is served, and notices nothing of a leader's death",
    "test_conformance": "what MCP asks of a server, by its own suite, through a follower and after a failover",
}
