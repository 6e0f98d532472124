"""Serve examples/widgets for `make run`: SQLite, sign-up on, and two lines of curl to begin with."""

import os
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
APP = ROOT / "examples" / "widgets"


class Server(uvicorn.Server):
    """Says where it is only once it answers there."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then greet."""
        await super().startup(sockets)
        if self.started and sockets:
            print(greeting(*sockets[0].getsockname()), flush=True)


def greeting(host: str, port: int) -> str:
    """What a new user needs: the address, the documentation, and two lines to paste into a shell."""
    url = f"http://{host}:{port}"
    is_open = os.environ.get("ALLOW_SELF_SIGNUP", "").lower() in {"true", "1", "yes", "on"}
    sign_up_is = "on" if is_open else "off by ALLOW_SELF_SIGNUP: add users with `app-kernel users create EMAIL`"
    # The address is new at each start because the database outlives it, and an email can sign up once.
    person = f'{{"email": "ada-{secrets.token_hex(3)}@example.com", "password": "{secrets.token_urlsafe(12)}"}}'
    as_json = "-H 'Content-Type: application/json'"
    sign_up = f"curl -s {url}/auth/register {as_json} -d '{person}'"
    take = """sed 's/.*"access_token": *"\\([^"]*\\)".*/\\1/'"""
    create = f"""curl -s {url}/widgets -H "Authorization: Bearer $TOKEN" {as_json} -d '{{"name": "First"}}'"""
    return f"""
Widgets are served on {url} (Ctrl-C ends it). Sign-up is {sign_up_is}.
Try them in a browser:  {url}/docs
Or sign up and create a widget from another terminal:

TOKEN=$({sign_up} | {take})
{create}
"""


def listen(host: str, port: int) -> socket.socket:
    """Take the port now, so that a port in use is one sentence rather than a log."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as problem:
        listener.close()
        sys.exit(f"Cannot serve on {host}:{port}: {problem.strerror}. Choose another port: make run PORT=8001")
    return listener


def secret(path: Path) -> str:
    """A random secret that only its owner can read, made once, so that a restart keeps everybody signed in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    return path.read_text().strip()


def main() -> None:
    """Fill in what the environment leaves open, then serve until stopped."""
    port = os.environ.get("PORT", "8000")
    if not (port.isdecimal() and int(port) < 65536):
        sys.exit(f"PORT must be a number from 0 (any free port) to 65535, not {port!r}.")
    listener = listen(os.environ.get("HOST", "127.0.0.1"), int(port))
    os.environ.setdefault("ALLOW_SELF_SIGNUP", "true")
    os.environ.setdefault("DATABASE_PATH", str(DATA / "widgets.db"))
    if "JWT_SECRET" not in os.environ:
        os.environ["JWT_SECRET"] = secret(DATA / "jwt_secret")
    sys.path.insert(0, str(APP))
    # The service writes its own access log; of uvicorn's only what goes wrong is of interest here.
    server = Server(uvicorn.Config("main:app", log_level="warning", access_log=False, proxy_headers=False))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
