"""The tests that need a device, where a checkout holds them; once more with torch's search for races of streams."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fmanet_cli
from fmanet_cli.bench.first_contact.contact import Contact, Parts

_CHECKOUT = Path(fmanet_cli.__file__).parents[1]
_ENGINE = "tests/engine"
_OF_STREAMS = ("test_transfer.py", "fast/test_cuda_graphs.py", "test_cuda.py")
_LONGEST_NAME = 300
_SLOWEST = 10
_FIRST_SHARE, _LAST_SHARE = 0.7, 0.9
"""Of the time that is left when they begin."""
_CODES = {1: "some failed", 2: "stopped: the time was over"}


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    if not (_CHECKOUT / _ENGINE).is_dir() or importlib.util.find_spec("pytest") is None:
        return {"tests": lambda: {"left out": "there is no checkout with tests, or no pytest"}}
    found = {"tests": functools.partial(_tested, contact, [_ENGINE], share=_FIRST_SHARE)}
    streams = [f"{_ENGINE}/{name}" for name in _OF_STREAMS if (_CHECKOUT / _ENGINE / name).exists()]
    arguments = [*streams, "-k", "not memory and not fit"]
    again = functools.partial(_tested, contact, arguments, share=_LAST_SHARE, TORCH_CUDA_SANITIZER="1")
    return found | {"races of streams": again}


def _tested(contact: Contact, arguments: list[str], *, share: float, **environment: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fmanet-contact-") as folder:
        results = Path(folder, "results.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--maxfail=100", "-p", "no:cacheprovider"]
        code = _run([*command, f"--junitxml={results}", *arguments], environment, share * (contact.until - time.time()))
        found = read_results(results)
    found["exit_code"] = code
    nothing_ran = found["tests"] == found["skipped"] and not contact.is_rehearsal
    if code or nothing_ran:
        found["wrong"] = "no test ran" if nothing_ran else _CODES.get(code, f"exit code {code}")
    return found


def _run(command: list[str], environment: dict[str, str], seconds: float) -> int:
    """The exit code. Where the time is over it is interrupted, to write down what it has found."""
    # What it prints goes where this process prints.
    process = subprocess.Popen(command, cwd=_CHECKOUT, env={**os.environ, **environment})
    try:
        return process.wait(timeout=None if math.isinf(seconds) else max(0.0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        return process.wait()


def read_results(path: Path) -> dict[str, Any]:
    """Numbers of tests, those that failed, and the slowest, from a file of JUnit's form."""
    found: dict[str, Any] = {"tests": 0, "skipped": 0, "failed": 0, "failures": []}
    seconds: list[tuple[float, str]] = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        found["tests"] += 1
        seconds.append((float(case.get("time", 0)), name))
        found["skipped"] += case.find("skipped") is not None
        failure = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if failure is not None:
            found["failed"] += 1
            found["failures"].append(f"{name}: {failure.get('message', '')[:_LONGEST_NAME]}")
    found["slowest"] = sorted(seconds, reverse=True)[:_SLOWEST]
    return found
