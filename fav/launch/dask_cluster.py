"""Nodes of one job on a Dask cluster: one on each worker, while workers come and go.

Each node is one long Dask task. It lives as long as its worker, even if no command follows it.
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

POLL_INTERVAL_S = 2.0  # between two polls of the cluster
MAX_REPLACEMENTS = 100  # workers that are requested from an adaptive cluster at once
PREFIX = "fav-node-"  # of task keys: Dask assumes equal durations for keys with the same prefix


@dataclass
class WorkerSlot:
    """One worker: the task of its node, how often the node died, and whether it gets no further node (`over`)."""

    task: "Future | None" = None
    deaths: int = 0
    over: bool = False


class DaskWorkerPool:
    """The nodes of one job. Finds nodes that already run, whichever command started them.

    Args:
        client: of the cluster.
        job: id of the job.
        words: (address, threads) to the arguments of `run_node_on_worker`.
        unfit: a failed check of a worker's machine to one line.
        target_workers: the number of nodes that the job has work for.
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
        self._thread = threading.Thread(target=self._run, daemon=True)  # a thread, because the scheduler may hang

    def __enter__(self) -> "DaskWorkerPool":
        self._thread.start()
        return self

    def __exit__(self, *why) -> None:
        """Stop following the nodes; they continue."""
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
                # The client is synchronous, so these are no coroutines.
                threads = cast("Mapping[str, int]", self.client.nthreads())
                self._update(threads, cast("Mapping[str, tuple]", self.client.processing()))
            except Exception as error:  # Dask raises various types for a lost connection
                silent = True
                if self.client.status == "running" and not isinstance(error, OSError):
                    raise
        if silent and self.client.status == "closed":
            self.has_active_nodes = False
            logger.error("the Dask scheduler has not answered for %d s; the same command continues", TIMEOUT_S)
        elif silent != self._silent:
            self._silent = silent
            if silent:
                logger.warning("the Dask scheduler does not answer (nodes continue on workers that run)")
            else:
                logger.info("the Dask scheduler answers again")

    def _update(self, threads: Mapping[str, int], tasks: Mapping[str, tuple]) -> None:
        """Start nodes on new workers, and handle those that have ended."""
        if not threads and not self._empty:
            logger.info("no workers; waiting for some")
        self._empty = not threads
        for address in set(self._slots) - set(threads):
            slot = self._slots.pop(address)
            if slot.task:
                logger.warning("%s: the worker is gone; other nodes take over its frame", address)
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
            return  # a connection was lost for a while, ours or another operator's: a running node is found again
        if isinstance(how, CompletedProcess):
            slot.over = True
            logger.warning("%s: %s", address, self.unfit(how))
        elif how in WORDS:
            slot.over = True
            if WORDS[how]:
                logger.warning("%s: the node %s", address, WORDS[how])
        else:
            how = f"ended with exit code {how}" if isinstance(how, int) else f"did not start ({sanitize(how)})"
            slot.over = slot.deaths == MAX_RESTARTS
            slot.deaths += 1
            again = (
                "too often; giving up" if slot.over else f"starting it again ({slot.deaths} of {MAX_RESTARTS} times)"
            )
            logger.warning("%s: the node %s; %s", address, how, again)

    def _ask_for_more(self, threads: Mapping[str, int]) -> None:
        """Let tasks wait, so that an adaptive cluster (one task per thread) grows to one worker per node."""
        nodes = self._nodes
        target_workers = min(self.target_workers(), nodes + MAX_REPLACEMENTS)
        average = sum(threads.values()) / len(threads) if threads else 1
        more = math.ceil(target_workers * average) - nodes if target_workers > nodes else 0
        self._demand = [task for task in self._demand if task.status == "pending"][:more]
        for _ in range(more - len(self._demand)):
            self._demand.append(request_worker(self.client, f"{PREFIX}0-{self.job}-{secrets.token_hex(8)}"))
