"""The job worker with an upkeep in a hurry: BEAT, then the worker's own options.

SIGUSR1 moves its clock forward by an hour, SIGUSR2 back by one, as if the machine's had jumped.
"""

import signal
import sys
import time
from datetime import UTC, datetime

from app_kernel.core import clock
from app_kernel.jobs import upkeep
from app_kernel.jobs.worker import main

JUMP = 3600.0


class Jumping:
    """A clock that is wrong."""

    def __init__(self) -> None:
        self.offset = 0.0

    def epoch(self) -> float:
        return time.time() + self.offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.epoch(), UTC)

    def jump(self, number: int, _: object) -> None:
        self.offset += JUMP if number == signal.SIGUSR1 else -JUMP


if __name__ == "__main__":
    jumping = Jumping()
    clock.epoch, clock.now = jumping.epoch, jumping.now
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, jumping.jump)
    upkeep.BEAT_SECONDS = upkeep.LOOK_SECONDS = float(sys.argv.pop(1))
    main()
