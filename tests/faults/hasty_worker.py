"""The admin worker with short waits between the tries with a message that is refused: FACTOR, then its own options."""

import sys

from app_kernel.admin_worker import main
from app_kernel.db.outbox import stream_reader

if __name__ == "__main__":
    factor = float(sys.argv.pop(1))
    stream_reader.RETRY_SECONDS = tuple(factor * seconds for seconds in stream_reader.RETRY_SECONDS)
    main()
