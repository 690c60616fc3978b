"""The transmit-limited queue, rule by rule (memberlist queue.go and queue_test.go)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from impl.gossip.broadcasts import TransmitQueue


def test_what_was_sent_least_goes_first() -> None:
    queue = TransmitQueue()
    queue.add(b"old")
    assert queue.take(100, 2, limit=3, count_max=9) == [b"old"]
    queue.add(b"new")
    assert queue.take(5, 2, limit=3, count_max=9) == [b"new"]


def test_among_these_the_largest_that_fits_then_the_newest() -> None:
    queue = TransmitQueue()
    for data in (b"aa", b"bb", b"cccc", b"dddddd"):
        queue.add(data)
    assert queue.take(13, 2, limit=9, count_max=9) == [b"dddddd", b"bb"]
    assert queue.take(4 + 2 + 2 + 2, 2, limit=9, count_max=9) == [b"cccc", b"aa"]


def test_room_left_by_one_tier_is_filled_from_the_next() -> None:
    queue = TransmitQueue()
    queue.add(b"aa")
    assert queue.take(4, 2, limit=9, count_max=9) == [b"aa"]
    queue.add(b"bbbb")
    assert queue.take(10, 2, limit=9, count_max=9) == [b"bbbb", b"aa"]


def test_a_message_is_sent_as_often_as_its_limit_and_no_more() -> None:
    queue = TransmitQueue()
    done: list[str] = []
    queue.add(b"x", on_done=lambda: done.append("x"))
    assert [queue.take(100, 2, limit=4, count_max=9) for _ in range(5)] == [[b"x"]] * 4 + [[]]
    assert done == ["x"]


def test_newer_news_of_a_name_replace_older() -> None:
    queue = TransmitQueue()
    done: list[str] = []
    queue.add(b"suspect", "n1", on_done=lambda: done.append("suspect"))
    queue.add(b"alive", "n1")
    queue.add(b"other", "n2")
    assert done == ["suspect"]
    assert queue.take(100, 2, limit=1, count_max=9) == [b"other", b"alive"]


def test_a_callback_may_queue_news_of_the_same_name() -> None:
    """Leaving does: when the intent has been sent, the death is queued."""
    queue = TransmitQueue()
    queue.add(b"alive", "n1", on_done=lambda: queue.add(b"dead", "n1"))
    assert queue.take(100, 2, limit=1, count_max=9) == [b"alive"]
    assert queue.take(100, 2, limit=1, count_max=9) == [b"dead"]
    assert len(queue) == 0


def test_a_packet_never_holds_more_than_its_count_allows() -> None:
    """memberlist 8d2a27a: a compound's count is one byte."""
    queue = TransmitQueue()
    for number in range(300):
        queue.add(b"%d" % number)
    assert len(queue.take(10**6, 2, limit=4, count_max=255)) == 255


def test_a_bounded_queue_drops_what_was_sent_most() -> None:
    queue = TransmitQueue(depth_max=2)
    queue.add(b"sent")
    queue.take(100, 2, limit=9, count_max=9)
    queue.add(b"two")
    queue.add(b"three")
    assert sorted(queue.take(100, 2, limit=9, count_max=9)) == [b"three", b"two"]


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from(["", "a", "b"])), max_size=30),
    st.lists(st.integers(0, 120), max_size=30),
)
def test_packets_never_overflow_and_everything_is_sent(
    added: list[tuple[bytes, str]], rooms: list[int]
) -> None:
    queue = TransmitQueue()
    for data, name in added:
        queue.add(data, name)
    for room in rooms:
        assert sum(2 + len(data) for data in queue.take(room, 2, limit=3, count_max=9)) <= room
    while len(queue):
        assert queue.take(1000, 2, limit=3, count_max=9)
