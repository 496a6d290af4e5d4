"""Notifications are delivered in their order, retried, and kept over a restart."""

from support.waiting import wait_for

from workbench.alerts.outbox import REFUSALS, Notice, Outbox, Refused
from workbench.core.errors import WorkbenchError


class Receiver:
    """Refuses its first deliveries, then keeps them."""

    def __init__(self, *errors):
        self.errors, self.texts = list(errors), []

    def __call__(self, notice):
        if self.errors:
            raise self.errors.pop(0)
        self.texts.append(notice.text)


def outbox(folder, receiver, reports=None):
    return Outbox(folder / "box", receiver, report=(reports if reports is not None else []).append, first_wait_s=0.01)


def down(kind=WorkbenchError):
    return kind("down", remedy="none")


def test_deliveries_are_retried_in_their_order(tmp_path):
    receiver, reports = Receiver(*[down()] * 5), []
    with outbox(tmp_path, receiver, reports) as box:
        for text in "abc":
            box.put(Notice(text, text))
        wait_for(lambda: not len(box))
    assert receiver.texts == ["a", "b", "c"]
    assert len(reports) == 1


def test_what_is_not_delivered_is_kept_over_a_restart(tmp_path):
    reports = []
    with outbox(tmp_path, Receiver(*[down()] * 1000), reports) as box:
        box.put(Notice("a", "a"))
        box.put(Notice("b", "b"))
    assert "2 notifications are not delivered yet" in reports[-1]
    receiver = Receiver()
    with outbox(tmp_path, receiver) as box:
        wait_for(lambda: not len(box))
    assert receiver.texts == ["a", "b"]
    with outbox(tmp_path, receiver) as box:
        assert not len(box)


def test_an_invalid_notification_does_not_hold_up_the_others(tmp_path):
    receiver, reports = Receiver(*[down(Refused)] * REFUSALS), []
    with outbox(tmp_path, receiver, reports) as box:
        box.put(Notice("bad", "bad"))
        box.put(Notice("good", "good"))
        wait_for(lambda: not len(box))
    assert receiver.texts == ["good"]
    assert any("given up" in report for report in reports)


def test_two_watches_of_one_server_keep_their_notifications_apart(tmp_path):
    one, two = Receiver(), Receiver()
    with outbox(tmp_path, one) as first, outbox(tmp_path, two) as second:
        first.put(Notice("1", "1"))
        second.put(Notice("2", "2"))
    assert (one.texts, two.texts) == (["1"], ["2"])
