"""Every way of computing on a device, held against the CPU: precisions, fused kernels, CUDA graphs."""

from __future__ import annotations

import functools
from typing import Any

import torch

from fmanet_cli.bench.first_contact.contact import Contact, Parts
from fmanet_cli.bench.first_contact.measuring import RecordedRunner
from fmanet_cli.engine.device import DTYPES, Precision, choose_precision
from fmanet_cli.engine.fast.fused import why_not_fused
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.self_check import LEAST_DECIBELS, SelfCheck
from fmanet_cli.errors import DeviceError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import load_model

PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16", "fp32")


def parts(contact: Contact) -> Parts:
    """See `Parts`; other cards compute with the small network only."""
    found: dict[str, Any] = {}
    for name in (contact.small, contact.wide):
        found |= _ways(load_model(name), name, contact.device)
    for index in range(torch.cuda.device_count() if contact.device.type == "cuda" else 0):
        if index != contact.device.index:
            found |= _ways(load_model(contact.small), f"cuda:{index} {contact.small}", torch.device("cuda", index))
    return found


def _ways(model: FMANet, name: str, device: torch.device) -> dict[str, Any]:
    found = {}
    for precision in PRECISIONS:
        for fused in (True, False):
            for graphs in (False, True):
                way = f"{name} {precision}{' fused' if fused else ''}{' graphs' if graphs else ''}"
                found[way] = functools.partial(_trial, model, device, precision, fused=fused, graphs=graphs)
    return found


def _trial(model: FMANet, device: torch.device, precision: Precision, *, fused: bool, graphs: bool) -> dict[str, Any]:
    try:
        choose_precision(precision, device)
    except DeviceError as error:
        return {"left out": str(error)}
    reason = why_not_fused(device, DTYPES[precision]) if fused else None
    if reason is not None:
        return {"left out" if device.type != "cuda" else "wrong": reason}
    recorded: list[RecordedRunner] = []

    def build(device: torch.device, precision: Precision, fused: bool) -> Any:
        runner = StreamingRunner(model, device=device, precision=precision, fused=fused)
        if graphs:
            recorded.append(RecordedRunner(runner, device))
        return recorded[-1] if graphs else runner

    trial = SelfCheck(model, device, build=build).attempt(precision, fused)[1]
    found: dict[str, Any] = {"decibels": trial.decibels, "reason": trial.reason}
    problems = [runner.problem for runner in recorded if runner.problem]
    if problems or not trial.is_passed:
        found["wrong"] = "; ".join([*problems, *([] if trial.is_passed else [f"below {LEAST_DECIBELS:.0f} dB"])])
    return found
