"""A Dask cluster that is there already: a client of its scheduler, and tasks on its workers.

A worker is Dask's here. What reaches it is the text of `run_node_on_worker` and a command line, so it needs neither this program in its
Python nor the same Python.
"""

import asyncio
import inspect
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fav.launch.errors import LaunchError
from shared.errors import sanitize

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 10  # to an answer of the scheduler
TIMEOUT_S = 300  # with a scheduler that was there and answers no more: a laptop was closed, a network is down
ADDRESS = re.compile(r"[a-z]+://\S+|[^/\s]+:[0-9]+")
CALL = "(exec(source, scope := {}), scope['run_node_on_worker'](*words))[1]"
UNSATISFIABLE_RESOURCE = {"fav-more-workers": 1}  # a resource


def run_node_on_worker(script: str, path: str, command: "list[str]", log: str, head: str):
    """Run on a worker, from this text alone: look with the shell script, then run a node in the directory `path`.

    What the node says is added to `log`, a new file or one that begins with the line `head`: FileExistsError for any other.
    Returns the node's exit code when it has ended, or what the script said, if it failed.
    """
    import os
    import subprocess
    import time

    from distributed import get_client, get_worker

    worker = get_worker()
    # The worker itself wants this task, which it has already: so the task lives as long as its worker, not as long as the
    # operator's connection, and no longer. One that nobody ends would keep a worker of an adaptive cluster for ever.
    wanted = get_client().submit(abs, 0, key=worker.get_current_task())
    look = subprocess.run(
        ["/bin/sh", "-s"], input=script, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )
    if look.returncode:
        return look
    begins = f"{head}\n".encode()
    try:
        with open(log, "xb") as file:
            file.write(begins)
    except FileExistsError:
        if os.path.islink(log) or not os.path.isfile(log):  # a FIFO would hang
            raise FileExistsError(f"{log}: expected a file, got something else; remove it") from None
    with open(log, "a+b", buffering=0) as file:
        file.seek(0)
        if file.read(len(begins)) != begins or not os.path.samestat(os.fstat(file.fileno()), os.lstat(log)):
            raise FileExistsError(f"{log}: expected a log of this program, got another file; remove it")
        node = subprocess.Popen(
            command, cwd=path, start_new_session=True, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    # The pipe closes when the worker is to close, or when it is killed: then the node leaves after its frame.
    watch = ["/bin/sh", "-c", 'read -r _; kill "$0"', str(node.pid)]
    guard = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    while node.poll() is None:
        if guard.stdin and worker.status.name not in ("running", "paused"):
            guard.stdin.close()
        time.sleep(0.5)
    guard.kill()
    guard.wait()
    del wanted
    return node.returncode


def start(client: "Client", key: str, address: str, words: tuple) -> "Future":
    """A task with this key that runs `run_node_on_worker(*words)` on the worker of this address; a key that is known starts nothing."""
    call = {"source": inspect.getsource(run_node_on_worker), "words": words}
    return client.submit(eval, CALL, call, key=key, workers=[address], pure=False)


def request_worker(client: "Client", key: str) -> "Future":
    """A task that waits for ever, so that an adaptive cluster grows."""
    return client.submit(abs, 0, key=key, resources=UNSATISFIABLE_RESOURCE, pure=False)


def address_of(word: str) -> str:
    """The word itself, or the address in the scheduler file of that name; LaunchError where it is neither."""
    if ADDRESS.fullmatch(word):
        return word
    try:
        there = Path(word)
        waits = there.exists() and not (there.is_file() or there.is_dir())  # a FIFO, which nobody may write into
        address = None if waits else json.loads(there.read_bytes())["address"]
    except OSError as error:
        raise LaunchError(
            f"--dask: expected a scheduler's address as tcp://HOST:8786, or a scheduler file, got "
            f"{sanitize(word) or 'nothing'} ({error.strerror})"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        address = None
    if not isinstance(address, str) or not ADDRESS.fullmatch(address):
        raise LaunchError(
            f"{sanitize(word)}: expected a file that `dask scheduler --scheduler-file` wrote, got something else"
        )
    return address


@contextmanager
def connected(word: str) -> Iterator["Client"]:
    """A client of the scheduler with this address or scheduler file; LaunchError, before any work, where there is none."""
    address = address_of(word)
    try:
        from distributed import Client
    except ImportError:
        raise LaunchError("--dask: expected the package distributed, found none; pip install distributed") from None
    # What Dask warns of we say in our words; that its versions differ in other packages means nothing here.
    warnings.filterwarnings("ignore", module="distributed")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    version = ""
    try:
        kind, version = asyncio.run(asyncio.wait_for(_answer(address), CONNECT_S))
    except Exception as error:  # of whatever kind: no such host, no certificate, another protocol
        kind = _first_line(error) or "no answer"
    if kind != "Scheduler":
        raise LaunchError(
            f"--dask: expected a Dask scheduler at {sanitize(address)}, found none within {CONNECT_S} s ({kind})"
        )
    client = Client.__new__(Client)
    try:
        client.__init__(address, timeout=TIMEOUT_S, set_as_default=False)
    except Exception as error:  # too far apart, these show in errors of any kind
        client.status = "closed"  # or it would wait, in vain and for minutes, to be closed
        raise LaunchError(
            f"--dask: expected a Dask that goes with ours at {sanitize(address)}, got {sanitize(version)} there; pip "
            f"install distributed=={sanitize(version)} here, or ours there ({_first_line(error)})"
        ) from None
    try:
        yield client
    finally:
        with suppress(OSError):  # a scheduler that hangs
            client.close(CONNECT_S)


def _first_line(error: Exception) -> str:
    return sanitize(str(error).partition("\n")[0])


async def _answer(address: str) -> tuple[str, str]:
    """What answers there, in Dask's own word, and of which version."""
    from distributed import rpc
    from distributed.security import Security

    async with rpc(address, timeout=CONNECT_S, connection_args=Security().get_connection_args("client")) as server:
        scheduler = cast(Any, server)  # which has whatever methods the scheduler has
        kind = (await scheduler.identity())["type"]
        return kind, (await scheduler.versions())["packages"]["distributed"] if kind == "Scheduler" else ""
