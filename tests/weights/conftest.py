"""A tiny network in the authors' two-file layout, and a scripted HTTP server."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.weights.registry import REDS, WeightsRow

TINY = FMANetConfig(
    dim=12,
    num_rdbs=2,
    growth=3,
    num_dense_layers=2,
    num_flows=2,
    num_frma_blocks=2,
    num_attention_blocks=1,
    num_heads=3,
    ffn_expansion=1.5,
    degradation_kernel_size=8,
    restoration_kernel_size=3,
)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMANET_OFFLINE", raising=False)


@pytest.fixture
def tiny_model() -> FMANet:
    return random_model(TINY, seed=7)


@pytest.fixture
def upstream_folder(tmp_path: Path, tiny_model: FMANet) -> Path:
    """A folder with `model_D_best.pt` and `model_R_best.pt` as the authors' training script leaves them."""
    folder = tmp_path / "authors" / "FMA-Net_REDS"
    folder.mkdir(parents=True)
    for part, network in (("D", tiny_model.degradation_learning_network), ("R", tiny_model.restoration_network)):
        content: dict[str, Any] = {"epoch": 400, f"model_{part}_state_dict": network.state_dict()}
        if part == "R":
            optimizer = torch.optim.Adam(network.parameters())
            scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[260, 360])
            content["optimizer_R_state_dict"] = optimizer.state_dict()
            content["scheduler_R_state_dict"] = scheduler.state_dict()
        torch.save(content, folder / f"model_{part}_best.pt")
    return folder


@pytest.fixture
def nested_zip(tmp_path: Path, upstream_folder: Path) -> Path:
    """The published shape: a zip of a shared folder, with its root entry, around `FMA-Net_REDS.zip`."""
    inner = tmp_path / "FMA-Net_REDS.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for path in sorted(upstream_folder.iterdir()):
            archive.write(path, f"FMA-Net_REDS/{path.name}")
    outer = tmp_path / "shared.zip"
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("/"), b"")
        archive.writestr("readme.txt", "weights")
        archive.write(inner, "some folder/FMA-Net_REDS.zip")
    return outer


@dataclass
class Server:
    """Answers each path with its scripted answers in turn, the last one for ever."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def row(self, path: str, **changes: Any) -> WeightsRow:
        return replace(REDS, url=self.url + path, **changes)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.requests.append(self.path)
            answers = script.answers[self.path]
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)

        def log_message(self, *args: Any) -> None:
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        script = Server(f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        running.shutdown()
        thread.join()


@pytest.fixture
def answer() -> type[Answers]:
    return Answers


class Answers:
    """What the server can say."""

    @staticmethod
    def content(body: bytes, *, claimed_length: int | None = None) -> Answer:
        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body) if claimed_length is None else claimed_length))
            handler.end_headers()
            handler.wfile.write(body)

        return send

    @staticmethod
    def of_unknown_length(body: bytes) -> Answer:
        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(body)

        return send

    @staticmethod
    def with_header(value: str) -> Answer:
        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", value)
            handler.end_headers()
            handler.wfile.write(b"x" * 1000)

        return send

    @staticmethod
    def endless(piece: bytes, *, every_seconds: float = 0.0) -> Answer:
        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    handler.wfile.write(piece)
                    time.sleep(every_seconds)

        return send

    @staticmethod
    def status(code: int) -> Answer:
        return lambda handler: handler.send_error(code)

    @staticmethod
    def redirect(path: str) -> Answer:
        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", path)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        return send
