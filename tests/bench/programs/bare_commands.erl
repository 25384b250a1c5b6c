%% Bare commands on ra, RabbitMQ's Raft: three VMs, the callers in a follower's. bare_commands:main() in each of them.
%% The commands go to the leader's process straight from the follower's VM, as ra's documentation has it.
-module(bare_commands).
-behaviour(ra_machine).
-export([init/1, apply/3, main/0, load/1]).

init(_Config) -> 0.

apply(_Meta, {add, A, B}, Count) -> {Count + 1, A + B}.

main() ->
    [Folder | Nodes] = init:get_plain_arguments(),
    ok = application:load(ra),
    ok = application:set_env(ra, data_dir, Folder),
    {ok, _} = application:ensure_all_started(ra),
    {ok, _} = ra_system:start_default(),
    case [list_to_atom(Node) || Node <- Nodes] of
        [] -> io:format("READY~n");
        All -> io:format("~s~n", [start(All)])
    end.

start(Nodes) ->
    [pong = await(Node, 100) || Node <- Nodes],
    timer:sleep(1000),
    {ok, _, []} = ra:start_cluster(default, adders, {module, ?MODULE, #{}}, [{adders, Node} || Node <- Nodes]),
    {ok, _, {adders, Leader}} = ra:members({adders, hd(Nodes)}),
    Follower = hd(Nodes -- [Leader]),
    spawn(fun() -> serve(Follower, Leader) end),
    "READY " ++ atom_to_list(Follower).

await(Node, 0) -> {nobody, Node};
await(Node, Tries) ->
    case net_adm:ping(Node) of
        pong -> pong;
        pang -> timer:sleep(100), await(Node, Tries - 1)
    end.

serve(Follower, Leader) ->
    case io:get_line("") of
        eof -> init:stop();
        Line ->
            [Callers, Seconds] = string:tokens(string:trim(Line), " "),
            {Took, Samples} = rpc:call(Follower, ?MODULE, load, [{Leader, list_to_integer(Callers), number(Seconds)}]),
            Texts = [io_lib:format("~.3f", [Us / 1000]) || Us <- Samples],
            io:format("{\"latencies_ms\": [~s], \"took_s\": ~.4f}~n", [lists:join(",", Texts), Took / 1.0e6]),
            serve(Follower, Leader)
    end.

number(Text) -> try list_to_float(Text) catch error:badarg -> float(list_to_integer(Text)) end.

load({Leader, Callers, Seconds}) ->
    Begun = erlang:monotonic_time(microsecond),
    Until = Begun + round(Seconds * 1000000),
    Here = self(),
    Pids = [spawn_link(fun() -> Here ! {self(), call_on({adders, Leader}, Until, 0, [])} end)
            || _ <- lists:seq(1, Callers)],
    Samples = lists:append([receive {Pid, Found} -> Found end || Pid <- Pids]),
    {erlang:monotonic_time(microsecond) - Begun, Samples}.

call_on(Server, Until, Number, Found) ->
    At = erlang:monotonic_time(microsecond),
    case At >= Until of
        true -> Found;
        false ->
            {ok, Sum, Now} = ra:process_command(Server, {add, Number, 1}, 30000),
            Sum = Number + 1,
            call_on(Now, Until, Number + 1, [erlang:monotonic_time(microsecond) - At | Found])
    end.
