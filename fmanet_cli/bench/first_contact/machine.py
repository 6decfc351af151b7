"""What the machine offers: `fmanet doctor`, versions of the libraries, and what the driver says."""

from __future__ import annotations

import functools
import importlib.metadata
import shutil
import subprocess
from typing import Any

import torch

from fmanet_cli.bench.first_contact.contact import REHEARSED, Contact, Parts
from fmanet_cli.doctor import examine

_LIBRARIES = ("torch", "triton", "numpy", "av", "opencv-python-headless", "pytest")
_LONGEST_SECONDS = 20


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    return {
        "device": functools.partial(_device, contact),
        "doctor": _doctor,
        "libraries": _libraries,
        "driver": _driver,
    }


def _device(contact: Contact) -> dict[str, Any]:
    found = {"chosen": str(contact.device), "precision": contact.precision}
    return found | ({"rehearsal": REHEARSED} if contact.is_rehearsal else {})


def _doctor() -> dict[str, Any]:
    findings = [finding.as_dict() for finding in examine()]
    remedies = [f"{finding['topic']}: {finding['remedy']}" for finding in findings if not finding["ok"]]
    return {"warnings": len(remedies), "first": next(iter(remedies), "none"), "findings": findings}


def _libraries() -> dict[str, Any]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    kernels = " ".join(torch.cuda.get_arch_list())
    return versions | {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "kernels": kernels,
    }


def _driver() -> dict[str, Any]:
    if shutil.which("nvidia-smi") is None:
        return {"left out": "there is no nvidia-smi"}
    done = subprocess.run(
        ["nvidia-smi", "-q"], capture_output=True, text=True, check=True, timeout=_LONGEST_SECONDS, errors="replace"
    )
    lines = done.stdout.splitlines()
    return {
        "driver": next((line.split(":")[-1].strip() for line in lines if "Driver Version" in line), ""),
        "all": lines,
    }
