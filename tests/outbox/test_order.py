"""A message never overtakes one of its key that committed while the relay was at work."""

import pytest

from app_kernel.core.outbox import Message
from app_kernel.db.outbox.channel import Channel
from app_kernel.db.outbox.inbox import Outcome
from app_kernel.db.outbox.rows import OutboxRow


class Outbox:
    """Rows by number, as they commit."""

    def __init__(self, *seqs):
        self.rows = {seq: OutboxRow(seq, Message("t", {}, key="k", id=str(seq)), 0) for seq in seqs}

    async def last_unsent(self, topic):
        return max(self.rows, default=0)

    async def unsent(self, topic, after, limit):
        return [self.rows[seq] for seq in sorted(self.rows) if seq > after]


class Carrier:
    """Takes what it is given; at the first time, numbers that were drawn earlier commit, and one that follows them."""

    def __init__(self, outbox, *meanwhile):
        self.outbox, self.meanwhile, self.carried = outbox, meanwhile, []

    def look(self):
        return None

    async def carry(self, rows):
        self.carried += [row.seq for row in rows]
        for row in rows:
            del self.outbox.rows[row.seq]
        self.outbox.rows |= Outbox(*self.meanwhile).rows
        self.meanwhile = ()
        return Outcome(written=[row.message for row in rows])


async def report(carried):
    return None


@pytest.mark.acceptance("EV1")
async def test_what_commits_late_with_an_early_number_comes_before_what_follows_it():
    outbox = Outbox(1, 3)
    carrier = Carrier(outbox, 2, 4)
    channel = Channel("t", outbox, carrier, report)
    await channel._pass()
    await channel._pass()
    assert carrier.carried == [1, 3, 2, 4]
