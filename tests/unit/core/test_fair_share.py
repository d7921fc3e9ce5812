"""The rate is kept, whoever sends; nobody gets more than others for long, and urgent senders go first."""

from collections import Counter

import pytest

from replicator.core.fair_share import FairShare

RATE = 1000.0


class Line:
    """Senders that always have something to send, on a virtual clock."""

    def __init__(self, rate=RATE):
        self.share = FairShare(rate)
        self.now = 5.0
        self.sent = Counter()
        self.order = []
        self.sizes = {}
        self.urgent = set()

    def add(self, sender, size, *, urgent=False):
        self.sizes[sender] = size
        if urgent:
            self.urgent.add(sender)
        self.share.wait(sender, size, urgent=urgent)

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            sender = self.share.next(self.now)
            if sender is None:
                delay = self.share.delay(self.now)
                assert delay > 0, "a busy loop"
                self.now += delay
                continue
            self.sent[sender] += self.sizes[sender]
            self.order.append(sender)
            self.share.wait(sender, self.sizes[sender], urgent=sender in self.urgent)


@pytest.mark.parametrize("senders", [{"a": 10}, {"a": 10, "b": 100}, {"a": 1, "b": 7, "c": 333}])
def test_all_senders_together_keep_the_rate_and_each_has_an_equal_share_of_the_bytes(senders):
    line = Line()
    for sender, size in senders.items():
        line.add(sender, size)
    line.run(100.0)
    total, largest = sum(line.sent.values()), max(senders.values())
    burst = RATE * FairShare.BURST_SECONDS
    assert 100 * RATE - largest <= total <= 100 * RATE + burst + largest
    share = total / len(senders)
    assert all(abs(sent - share) <= 2 * largest for sent in line.sent.values())


def test_an_idle_line_saves_up_no_more_than_the_burst():
    line = Line()
    line.add("a", 1)
    line.run(1.0)
    line.share.forget("a")
    line.now += 3600
    before = line.sent.total()
    line.add("a", 1)
    line.run(1.0)
    assert line.sent.total() - before <= RATE * (1 + FairShare.BURST_SECONDS) + 1


def test_a_sender_that_was_idle_gets_its_share_and_not_what_it_has_missed():
    line = Line()
    line.add("a", 10)
    line.run(50.0)
    line.add("b", 10)
    before = Counter(line.sent)
    line.run(10.0)
    gained = line.sent - before
    assert abs(gained["a"] - gained["b"]) <= 20


def test_urgent_senders_go_before_all_others_and_share_fairly():
    line = Line()
    line.add("bulk", 100)
    line.run(1.0)
    line.add("one", 10, urgent=True)
    line.add("two", 50, urgent=True)
    before = Counter(line.sent)
    line.run(10.0)
    gained = line.sent - before
    assert gained["bulk"] == 0
    assert abs(gained["one"] - gained["two"]) <= 100


def test_a_sender_that_is_hurried_is_the_next():
    share = FairShare(RATE)
    for sender in ("a", "b", "c"):
        share.wait(sender, 1, urgent=False)
    share.hurry("c")
    share.hurry("nobody")
    assert share.next(100.0) == "c"


def test_a_large_piece_is_a_debt_that_delays_the_next_one():
    share = FairShare(RATE)
    share.wait("a", 5000, urgent=False)
    assert share.next(100.0) == "a"
    share.wait("b", 1, urgent=True)
    assert share.next(100.0) is None
    assert share.delay(100.0) == pytest.approx(5 - FairShare.BURST_SECONDS)
    assert share.next(105.0) == "b"


def test_what_is_sent_without_permission_counts():
    share = FairShare(RATE)
    share.spent(2000)
    share.wait("a", 1, urgent=True)
    assert share.delay(0.0) == pytest.approx(2.0)


def test_another_rate_applies_to_what_waits():
    line = Line()
    line.add("a", 10)
    line.run(1.0)
    line.share.rate = 10 * RATE
    before = line.sent.total()
    line.run(1.0)
    assert line.sent.total() - before == pytest.approx(10 * RATE, rel=0.05)


def test_a_sender_that_is_forgotten_gets_nothing():
    share = FairShare(RATE)
    share.wait("a", 1, urgent=True)
    share.forget("a")
    assert share.next(100.0) is None
