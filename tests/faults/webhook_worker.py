"""The job worker with an upkeep and a schedule of webhooks in a hurry: BEAT, SCALE, then the worker's own options."""

import sys

from app_kernel.jobs import upkeep
from app_kernel.jobs.worker import main
from app_kernel.webhooks.schedule import scaled

if __name__ == "__main__":
    upkeep.BEAT_SECONDS = upkeep.LOOK_SECONDS = float(sys.argv.pop(1))
    with scaled(float(sys.argv.pop(1))):
        main()
