"""Nodes of one job on a Dask cluster: one on each worker, as workers come and go.

Each is a long task, which Dask counts, and which lives as long as its worker, whoever follows it.
"""

import logging
import math
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, cast

from fav.launch.dask_client import CONNECT_S, TIMEOUT_S, request_worker, start
from fav.launch.ssh_cluster import MAX_RESTARTS, WORDS
from shared.errors import sanitize

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 2.0  # between two looks at the cluster
MAX_REPLACEMENTS = 100  # workers that an adaptive cluster is asked for at a time, beyond those with a node
PREFIX = "fav-node-"  # of keys: Dask takes tasks with the same words there for equally long


@dataclass
class WorkerSlot:
    """What is known of one worker: the task of its node, how often that died, and whether there is to be none any more."""

    task: "Future | None" = None
    deaths: int = 0
    over: bool = False


class DaskWorkerPool:
    """The nodes of the job with this id. Whoever looks again finds those that run, whoever started them.

    `words(address, threads)` are what a worker gets (`run_node_on_worker`); `unfit` tells in one line what a look there said that
    failed; `target_workers()` is how many nodes the job has work for.
    """

    def __init__(
        self,
        client: "Client",
        job: str,
        words: Callable[[str, int], tuple],
        unfit: Callable[[CompletedProcess], str],
        target_workers: Callable[[], int],
    ):
        self.client, self.job, self.words, self.unfit, self.target_workers = client, job, words, unfit, target_workers
        self.has_active_nodes = True  # whether a node runs on some worker, or will
        self._slots: dict[str, WorkerSlot] = {}
        self._demand: list[Future] = []
        self._empty, self._silent = False, False
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._run, daemon=True
        )  # a scheduler that hangs keeps nobody else waiting

    def __enter__(self) -> "DaskWorkerPool":
        self._thread.start()
        return self

    def __exit__(self, *why) -> None:
        """Look after the nodes no more; they go on."""
        self._over.set()
        self._thread.join(CONNECT_S)

    def _run(self) -> None:
        try:
            while self.has_active_nodes and not self._over.is_set():
                self._round()
                self._over.wait(POLL_INTERVAL_S)
        finally:
            self.has_active_nodes = False

    def _round(self) -> None:
        silent = self.client.status != "running"
        if not silent:
            try:
                # No coroutines, since the client is a synchronous one.
                threads = cast("Mapping[str, int]", self.client.nthreads())
                self._look(threads, cast("Mapping[str, tuple]", self.client.processing()))
            except Exception as error:  # whatever Dask makes of a lost connection
                silent = True
                if self.client.status == "running" and not isinstance(error, OSError):
                    raise
        if silent and self.client.status == "closed":
            self.has_active_nodes = False
            logger.error("the Dask scheduler has not answered for %d s; the same line goes on", TIMEOUT_S)
        elif silent != self._silent:
            self._silent = silent
            if silent:
                logger.warning("the Dask scheduler does not answer (nodes whose workers run go on meanwhile)")
            else:
                logger.info("the Dask scheduler answers again")

    def _look(self, threads: Mapping[str, int], tasks: Mapping[str, tuple]) -> None:
        if not threads and not self._empty:
            logger.info("no workers; waiting for some")
        self._empty = not threads
        for address in set(self._slots) - set(threads):
            slot = self._slots.pop(address)
            if slot.task:
                logger.warning("%s: the worker is gone; others take its frame over", address)
                slot.task.cancel()
        before = self._nodes
        for address, count in threads.items():
            slot = self._slots.setdefault(address, WorkerSlot())
            if slot.task and slot.task.done():
                self._ended(address, slot, slot.task)
            if not slot.task and not slot.over:
                prefix = f"{PREFIX}{address}-{self.job}-"
                known = (key for key in tasks.get(address, ()) if str(key).startswith(prefix))
                key = next(known, prefix + secrets.token_hex(4))
                slot.task = start(self.client, key, address, self.words(address, count))
        if self._nodes > before:
            logger.info("%d node(s) on %d worker(s)", self._nodes, len(threads))
        self.has_active_nodes = self._empty or not all(slot.over for slot in self._slots.values())
        self._ask_for_more(threads)

    @property
    def _nodes(self) -> int:
        return sum(slot.task is not None for slot in self._slots.values())

    def _ended(self, address: str, slot: WorkerSlot, task: "Future") -> None:
        how = task.status
        if how == "finished":
            how = task.result(CONNECT_S)
        elif how == "error":
            how = task.exception(CONNECT_S)
        slot.task = None
        if how == "cancelled":
            return  # the connection was lost for a while, or another operator's was: what runs is found again
        if isinstance(how, CompletedProcess):
            slot.over = True
            logger.warning("%s: %s", address, self.unfit(how))
        elif how in WORDS:
            slot.over = True
            if WORDS[how]:
                logger.warning("%s: the node %s", address, WORDS[how])
        else:
            how = f"ended with exit code {how}" if isinstance(how, int) else f"did not come up ({sanitize(how)})"
            slot.over = slot.deaths == MAX_RESTARTS
            slot.deaths += 1
            again = (
                "again and again; giving up"
                if slot.over
                else f"starting it again ({slot.deaths} of {MAX_RESTARTS} times)"
            )
            logger.warning("%s: the node %s; %s", address, how, again)

    def _ask_for_more(self, threads: Mapping[str, int]) -> None:
        """Have so many tasks wait that an adaptive cluster, which wants one for each thread, has a worker for each node."""
        nodes = self._nodes
        target_workers = min(self.target_workers(), nodes + MAX_REPLACEMENTS)
        average = sum(threads.values()) / len(threads) if threads else 1
        more = math.ceil(target_workers * average) - nodes if target_workers > nodes else 0
        self._demand = [task for task in self._demand if task.status == "pending"][:more]
        for _ in range(more - len(self._demand)):
            self._demand.append(request_worker(self.client, f"{PREFIX}0-{self.job}-{secrets.token_hex(8)}"))
