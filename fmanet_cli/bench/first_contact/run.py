"""All steps of a first contact, one process after the other, within a time; a folder with what they found."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from fmanet_cli.bench.first_contact.plan import STEPS, WHOLE_SECONDS, Step, time_limit
from fmanet_cli.bench.first_contact.summary import StepFindings, summary_text
from fmanet_cli.errors import DeviceError, FmanetError, OptionError, OutputExistsError
from fmanet_cli.files import write_text

SUMMARY = "summary"
_LAST_SECONDS = 5


class FirstContact:
    """Runs the steps; `run` yields what each found, and leaves files in a folder.

    There each step has its JSON and what it printed (`01-machine.json`, `01-machine.log`), and all together have
    `summary.json` and `summary.txt`, which are written anew after every step.
    """

    def __init__(self, folder: Path, *, device: str = "auto", seconds: float = WHOLE_SECONDS) -> None:
        """`seconds`: for everything.

        Raises:
            OutputExistsError: the folder holds something.
            OptionError: it cannot be made.
        """
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise OutputExistsError(f"{folder} is not an empty folder; name another one for what is found")
            folder.mkdir(parents=True, exist_ok=True)
        except OutputExistsError:
            raise
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise OptionError(f"{folder} cannot be made: {reason}; name another folder") from error
        self.folder, self._device, self._seconds = folder.absolute(), device, seconds
        self._found: list[StepFindings] = []

    def run(self) -> Iterator[StepFindings]:
        """Yield after each step.

        Raises:
            FmanetError: the device cannot be had; nothing else stops it.
        """
        began = time.time()
        for index, step in enumerate(STEPS):
            until = time_limit(index, now=time.time(), end=began + self._seconds, whole=self._seconds)
            found = self._findings(step, until)
            if found.exit_code is not None:
                for path in self._files(step):
                    path.unlink(missing_ok=True)
                raise _refusal(found)
            self._found.append(found)
            self._write_summary(time.time() - began)
            yield found

    def _findings(self, step: Step, until: float) -> StepFindings:
        target, log = self._files(step)
        began = time.time()
        if began >= until:
            return StepFindings(step, 0.0, ended="not reached: the time was over", found={})
        request = {"step": step.name, "device": self._device, "until": until, "target": str(target)}
        command = [sys.executable, "-m", "fmanet_cli.bench.first_contact.step", json.dumps(request)]
        with log.open("w") as printed:
            ended = run_process(command, printed, seconds=until - began)
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(target.read_text(encoding="utf-8"))
        return StepFindings(step, time.time() - began, ended=ended, found=found)

    def _files(self, step: Step) -> tuple[Path, Path]:
        """Its findings, and what it prints."""
        name = self.folder / f"{STEPS.index(step) + 1:02}-{step.name}"
        return name.with_suffix(".json"), name.with_suffix(".log")

    def _write_summary(self, seconds: float) -> None:
        missing = [step.name for step in STEPS[len(self._found) :]]
        whole = {"seconds": round(seconds, 1), "missing": missing, "steps": [found.as_dict() for found in self._found]}
        write_text(self.folder / f"{SUMMARY}.json", json.dumps(whole, indent=1) + "\n")
        write_text(self.folder / f"{SUMMARY}.txt", summary_text(self._found, missing, seconds))


def _refusal(found: StepFindings) -> FmanetError:
    kind = OptionError if found.exit_code == OptionError.exit_code else DeviceError
    return kind(found.error)


def run_process(command: Sequence[str], log: TextIO, *, seconds: float) -> str:
    """Run a process and whatever it begins, for no longer than a time.

    Args:
        command: program and arguments.
        log: a file for what it prints.
        seconds: until it is killed.

    Returns:
        How it ended; empty where it did by itself and well.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    finally:
        _end(process)
    if code < 0:
        return f"ended by signal {-code}"
    return f"ended with exit code {code}" if code else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    # What hangs in the driver may outlive even that, and the next step shall begin all the same.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_LAST_SECONDS)
