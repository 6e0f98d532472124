"""The application of `soak_service` where a server or a worker looks for it."""

from tests.faults.soak_service import make_app

app = make_app()
