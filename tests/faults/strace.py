"""Faults at system calls: strace kills a process at its N-th call, or makes that call fail."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.children import Child

SYNCS = ("fdatasync", "fsync")


def require_strace() -> None:
    """Makes strace available; the test fails with a sentence where that cannot be."""
    if shutil.which("strace") is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "--yes", "-qq", "strace"], check=False, timeout=300, capture_output=True)
    if shutil.which("strace") is None:
        pytest.fail("This test needs strace, which is not installed here: apt-get install strace.")
    tried = subprocess.run(
        ["strace", "-o", os.devnull, "true"], check=False, timeout=60, capture_output=True, text=True
    )
    if tried.returncode != 0:
        pytest.fail(f"strace may not trace a process here (ptrace is not permitted?): {tried.stderr.strip()}")


@contextmanager
def traced(program: str, *args: object, log: Path, calls: Iterable[str], inject: str | None = None) -> Iterator[Child]:
    """A program under strace from the moment it is told to go, so that its start costs nothing extra.

    Attached rather than launched: that skips the imports, and --seccomp-bpf, which would too, misses injected signals.
    """
    with Child(program, *args) as child:
        child.expect("ready")
        command = ["strace", "-f", "-p", str(child.pid), "-o", str(log), "-e", f"trace={','.join(calls)}"]
        command += ["-e", f"inject={inject}"] if inject else []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            try:
                assert strace.stderr is not None
                said = strace.stderr.readline()
                if "attached" not in said:
                    pytest.fail(f"strace may not trace a process here (ptrace is not permitted?): {said.strip()}")
                child.tell("go")
                yield child
            finally:
                child.end()
                strace.kill()


def count_calls(program: str, *args: object, log: Path, calls: Iterable[str]) -> Counter[str]:
    """How often each call is made in an undisturbed run, by the thread that makes most: strace counts for each anew."""
    with traced(program, *args, log=log, calls=calls) as child:
        child.expect("finished")
        assert child.wait() == 0, child.errors()
    threads: dict[str, Counter[str]] = {}
    for line in log.read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        name = rest.strip().partition("(")[0]
        if name.isidentifier():
            threads.setdefault(thread, Counter())[name] += 1
    return max(threads.values(), key=Counter.total)
