"""One step of a first contact, in a process of its own: `python -m fmanet_cli.bench.first_contact.step REQUEST`.

The request is JSON with `step`, `device`, `until` (seconds since the epoch) and `target`, the file of the findings.
That file is written anew at every part, so that a process that is stopped leaves what it has found.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fmanet_cli.engine.device import free_device_memory
from fmanet_cli.engine.device_errors import in_one_line
from fmanet_cli.errors import FmanetError
from fmanet_cli.files import write_text

BEGUN, NOT_REACHED = "begun", "not reached"


class Findings:
    """What a step has found so far, in its file."""

    def __init__(self, target: Path, step: str) -> None:
        self._target, self._began = target, time.time()
        self._found: dict[str, Any] = {"step": step, "parts": {}}

    def note(self, **facts: Any) -> None:
        """Facts of the whole step."""
        self._found |= facts
        self._write()

    def note_part(self, name: str, **facts: Any) -> None:
        """Facts of one part, in place of earlier ones."""
        self._found["parts"][name] = facts
        self._write()

    def _write(self) -> None:
        self._found["seconds"] = round(time.time() - self._began, 3)
        write_text(self._target, json.dumps(plain(self._found), indent=1, allow_nan=False) + "\n")


def run_parts(parts: Mapping[str, Callable[[], Any]], findings: Findings, *, until: float) -> None:
    """Call each part that begins in time; one that fails stops no other.

    Args:
        parts: by name, in order.
        findings: where they are noted.
        until: seconds since the epoch.
    """
    for name in parts:
        findings.note_part(name, state=NOT_REACHED)
    for name, call in parts.items():
        if time.time() >= until:
            return
        began = time.time()
        findings.note_part(name, state=BEGUN)
        try:
            found = call()
            state = next((word for word in ("wrong", "left out") if word in found), "done")
            facts = {"result": found}
        except Exception as error:  # Whatever it is, the others may still tell something.
            state, facts = "failed", {"error": in_one_line(error), "traceback": traceback.format_exc()}
        findings.note_part(name, state=state, seconds=round(time.time() - began, 3), **facts)


def graphs_last(parts: Mapping[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """The same parts, those with CUDA graphs after the others: a recording that fails can spoil its process."""
    return dict(sorted(parts.items(), key=lambda part: part[0].endswith("graphs")))


def plain(value: Any) -> Any:
    """A value as JSON knows it; numbers that are none become words."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def main() -> None:
    """Run the request of the command line."""
    request = json.loads(sys.argv[1])
    findings = Findings(Path(request["target"]), request["step"])
    try:
        from fmanet_cli.bench.first_contact.contact import Contact

        contact = Contact.on(request["device"], until=request["until"])
        findings.note(device=str(contact.device), precision=contact.precision)
        parts = importlib.import_module(f"fmanet_cli.bench.first_contact.{request['step']}").parts(contact)
    except FmanetError as error:
        findings.note(error=str(error), exit_code=error.exit_code)
        return
    except Exception as error:
        findings.note(error=in_one_line(error), traceback=traceback.format_exc())
        return

    def released(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            gc.collect()
            free_device_memory(contact.device)
            return call()

        return run

    ordered = graphs_last(parts)
    run_parts({name: released(ordered[name]) for name in ordered}, findings, until=request["until"])


if __name__ == "__main__":
    main()
