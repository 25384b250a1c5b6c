"""Who seems to be gone, by signs of life and by this node's own clock."""

from semel.core.call import NodeId
from semel.core.presence import Presence

from .values import N1, N2, N3


def a_presence() -> Presence:
    presence = Presence(N1, patience_s=2.0)
    presence.wake(0.0)
    return presence


def watch(presence: Presence, *, until_s: float, since_s: float = 0.0) -> None:
    """See the very same beat of n2 again and again."""
    for tenth in range(round(10 * since_s), round(10 * until_s) + 1):
        presence.pulsed({"n2": (N2, "1")}, tenth / 10)


def test_a_node_is_never_gone_to_itself() -> None:
    presence = a_presence()
    presence.lost(N1)
    assert not presence.gone(N1, 100.0)


def test_a_former_life_of_this_node_is_gone() -> None:
    assert a_presence().gone(NodeId("n1", "0"), 0.0)


def test_a_node_never_heard_of_is_given_the_patience_time() -> None:
    presence = a_presence()
    assert not presence.gone(N2, 5.0)
    assert not presence.gone(N2, 7.0)
    assert presence.gone(N2, 7.1)


def test_a_new_beat_is_a_sign_of_life() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1"), "n3": (N3, "1")}, 0.0)
    presence.pulsed({"n2": (N2, "2"), "n3": (N3, "1")}, 0.9)
    presence.pulsed({"n2": (N2, "2"), "n3": (N3, "1")}, 1.8)
    assert presence.gone(N3, 2.5)
    assert not presence.gone(N2, 2.5)


def test_the_same_beat_again_is_none() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.pulsed({"n2": (N2, "1")}, 0.9)
    presence.pulsed({"n2": (N2, "1")}, 1.8)
    assert presence.gone(N2, 2.5)


def test_beats_are_of_a_life_and_not_of_a_name() -> None:
    reborn = NodeId("n2", "2")
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.pulsed({"n2": (reborn, "1")}, 0.9)
    presence.pulsed({"n2": (reborn, "2")}, 1.8)
    assert presence.gone(N2, 2.5)
    assert not presence.gone(reborn, 2.5)


def test_a_lost_process_is_gone_at_once_until_it_answers() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.lost(N2)
    assert presence.gone(N2, 0.0)
    presence.found(N2, 0.5)
    watch(presence, until_s=2.6)
    assert not presence.gone(N2, 2.5)
    assert presence.gone(N2, 2.6)


def test_a_node_that_is_found_without_having_been_lost_shows_life() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.found(N2, 2.0)
    assert not presence.gone(N2, 4.0)


def test_a_node_that_slept_says_nothing_of_the_time_in_which_it_slept() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.wake(0.5)
    presence.wake(10.5)
    watch(presence, until_s=12.1, since_s=10.5)
    assert not presence.gone(N2, 12.0)
    assert presence.gone(N2, 12.1)


def test_a_short_pause_is_no_sleep() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.wake(1.0)
    presence.wake(2.0)
    watch(presence, until_s=2.1)
    assert presence.gone(N2, 2.1)


def test_a_node_that_cannot_see_any_pulse_holds_nobody_for_gone() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    assert not presence.gone(N2, 50.0)


def test_a_silence_that_could_not_be_heard_is_not_held_against_anybody() -> None:
    presence = a_presence()
    presence.pulsed({"n2": (N2, "1")}, 0.0)
    presence.pulsed({"n2": (N2, "1")}, 50.0)
    assert not presence.gone(N2, 50.9)
    presence.pulsed({"n2": (N2, "1")}, 50.9)
    presence.pulsed({"n2": (N2, "1")}, 51.8)
    presence.pulsed({"n2": (N2, "1")}, 52.1)
    assert presence.gone(N2, 52.1)


def test_who_looks_seldom_notices_a_silence_all_the_same() -> None:
    presence = a_presence()
    for look in range(20):  # each time the log takes its time to show the pulses
        presence.wake(1.5 * look)
        presence.pulsed({"n2": (N2, "1"), "n3": (N3, str(look))}, 1.5 * look)
        for tenth in range(15):
            presence.wake(1.5 * look + tenth / 10)
    assert presence.gone(N2, 28.6)
    assert not presence.gone(N3, 28.6)
