"""Workers on a Ray cluster: one actor a GPU, or a few cores; the only module that imports Ray."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from fmanet_cli.errors import DeviceError, OptionError, WorkerMismatchError
from fmanet_cli.restore.remote_spans import RemoteSpans
from fmanet_cli.restore.remote_worker import RemoteWorker
from fmanet_cli.restore.span_worker import WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts
from fmanet_cli.restore.workers import NoRoomError, Worker, WorkerDiedError

START_SECONDS = 10.0
"""How long a span is held back for an actor that is beginning; then others may take it, and the actor goes on."""

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""

_CALLS_AT_ONCE = 3
"""Of an actor: a span, the question how far it is, and the word to stop."""


class RayCluster:
    """A running cluster; a context manager that leaves it running."""

    def __init__(self, address: str) -> None:
        """address: of a cluster, or `auto` for the one that this machine belongs to.

        Raises:
            OptionError: Ray is not installed.
            DeviceError: no cluster answers there.
        """
        try:
            import ray
        except ImportError as error:
            raise OptionError("Ray is not installed here; install fmanet with its extra, '.[ray]'") from error
        self._ray: Any = ray
        try:
            _check_answers(address)
            with _own_signals(), _quiet():
                ray.init(address=address, namespace="fmanet", log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DeviceError(f"no Ray cluster answers at {address}: {first}; 'ray start' begins one") from error

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def has_gpus(self) -> bool:
        """Whether any machine of the cluster has one."""
        return self._count("GPU", 1) > 0

    def starters(
        self, setup: WorkerSetup, *, cpus: int, ships: bool, count: int | None = None
    ) -> list[Callable[[], Worker]]:
        """What begins each worker.

        Args:
            setup: the network, and the device of each worker: `cuda`, of which each gets one, or `cpu`.
            cpus: cores of each worker.
            ships: as for `RemoteSpans`.
            count: how many; None = as many as there is room for now. More take machines that join later.

        Raises:
            DeviceError: there is room for none.
        """
        on_gpus = setup.device.startswith("cuda")
        room = self._count("GPU", 1) if on_gpus else self._count("CPU", cpus)
        if not room and count is None:
            raise DeviceError(f"the Ray cluster has no {'GPU' if on_gpus else f'machine with {cpus} cores'}")
        needs: dict[str, float] = {"num_gpus": 1, "num_cpus": cpus} if on_gpus else {"num_cpus": cpus}
        sent, facts = self._ray.put(setup), WorkerFacts.here(setup.model)

        beginning: dict[int, _RayActor] = {}

        def start(number: int) -> Worker:
            actor = beginning.pop(number, None) or _RayActor(
                self._ray, sent, needs, name=f"fmanet {os.getpid()} worker {number}"
            )
            if not actor.has_begun(START_SECONDS):
                beginning[number] = actor
                raise NoRoomError("the workers of the Ray cluster have not begun yet")
            return RemoteSpans(actor, setup, facts, ships=ships)

        return [functools.partial(start, number) for number in range(1, (count or room) + 1)]

    def _count(self, resource: str, share: int) -> int:
        """How many workers that need so much of a resource the machines have room for, none of them divided."""
        alive = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return sum(int(resources.get(resource, 0) // share) for resources in alive)


class _RayActor:
    """A `RemoteWorker` as an actor (a `Remote`)."""

    def __init__(self, ray: Any, setup: Any, needs: dict[str, float], *, name: str) -> None:
        """Ask for it; raise NoRoomError where no machine has what it needs free."""
        free = ray.available_resources()
        if any(free.get(kind, 0) < needs[key] for key, kind in _RESOURCES.items() if key in needs):
            raise NoRoomError("no machine of the Ray cluster has room for a worker")
        self._ray, self._setup = ray, setup
        actor = ray.remote(RemoteWorker).options(name=_free_name(name), max_concurrency=_CALLS_AT_ONCE, **needs)
        self._actor = actor.remote()
        self._first_answer = self.submit("machine")

    def has_begun(self, seconds: float) -> bool:
        """Whether it answers by then; raise WorkerMismatchError without fmanet there, and WorkerDiedError."""
        try:
            self._first_answer.result(seconds)
        except FutureTimeoutError:
            return False
        except Exception as error:
            self.end()
            if "No module named" in str(error):
                raise WorkerMismatchError(
                    "a machine of the Ray cluster cannot import fmanet; install the same on every machine"
                ) from error
            raise WorkerDiedError(f"the worker is lost: {str(error).splitlines()[0]}") from error
        return True

    def submit(self, method: str, *arguments: object, name: str = "") -> Future[Any]:
        """As `Remote.submit`."""
        call = getattr(self._actor, method)
        future: Future[Any] = (call.options(name=name) if name else call).remote(*arguments).future()
        return future

    def send_setup(self, setup: WorkerSetup) -> Future[Any]:  # noqa: ARG002 - the cluster has it
        """As `Remote.send_setup`."""
        return self.submit("begin", self._setup)

    def end(self) -> None:
        """As `Remote.end`."""
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor)


def _check_answers(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself would go on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}
_names_given = iter(range(1, 1 << 62))


def _free_name(name: str) -> str:
    """An actor's name is taken for a while after its death."""
    return f"{name}, {next(_names_given)}"


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a run has its own end in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
