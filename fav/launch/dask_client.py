"""A client of an existing Dask cluster, and the task that runs a node on a worker.

In this file, a worker is Dask's. It gets only the source text of `run_node_on_worker` and a command line. So its
Python need not have this program, nor be of the same version.
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

CONNECT_S = 10  # maximum wait for an answer of the scheduler
TIMEOUT_S = 300  # maximum wait for a scheduler that stopped answering (a suspended laptop, a broken network)
ADDRESS = re.compile(r"[a-z]+://\S+|[^/\s]+:[0-9]+")
CALL = "(exec(source, scope := {}), scope['run_node_on_worker'](*words))[1]"
UNSATISFIABLE_RESOURCE = {"fav-more-workers": 1}  # a resource


def run_node_on_worker(script: str, path: str, command: "list[str]", log: str, head: str):
    """Run a node on a Dask worker. Only this source text is sent to the worker.

    Args:
        script: shell script that checks the worker's machine first.
        path: working directory of the node.
        command: of the node.
        log: file that gets the node's output; new, or it begins with the line `head`.
        head: first line of our logs.

    Returns:
        The node's exit code, or the CompletedProcess of the script if that failed.

    Raises:
        FileExistsError: `log` is another file.
    """
    import os
    import subprocess
    import time

    from distributed import get_client, get_worker

    worker = get_worker()
    # The worker requests its own task. So the task lives as long as its worker, not as the operator's connection.
    # A task that lives longer would keep a worker of an adaptive cluster for ever.
    own_request = get_client().submit(abs, 0, key=worker.get_current_task())
    check = subprocess.run(
        ["/bin/sh", "-s"], input=script, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )
    if check.returncode:
        return check
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
    # The pipe closes when the worker closes or is killed: then the node leaves after its frame.
    watch = ["/bin/sh", "-c", 'read -r _; kill "$0"', str(node.pid)]
    guard = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    while node.poll() is None:
        if guard.stdin and worker.status.name not in ("running", "paused"):
            guard.stdin.close()
        time.sleep(0.5)
    guard.kill()
    guard.wait()
    del own_request
    return node.returncode


def start(client: "Client", key: str, address: str, words: tuple) -> "Future":
    """Submit `run_node_on_worker(*words)` to the worker at `address`. A known key returns the running task."""
    call = {"source": inspect.getsource(run_node_on_worker), "words": words}
    return client.submit(eval, CALL, call, key=key, workers=[address], pure=False)


def request_worker(client: "Client", key: str) -> "Future":
    """Submit a task that can never run, so that an adaptive cluster grows."""
    return client.submit(abs, 0, key=key, resources=UNSATISFIABLE_RESOURCE, pure=False)


def address_of(word: str) -> str:
    """The scheduler's address: `word` itself, or from the scheduler file with that name.

    Raises:
        LaunchError: it is neither.
    """
    if ADDRESS.fullmatch(word):
        return word
    try:
        path = Path(word)
        blocks = path.exists() and not (path.is_file() or path.is_dir())  # a FIFO, perhaps without a writer
        address = None if blocks else json.loads(path.read_bytes())["address"]
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
    """Connect to the scheduler with this address or scheduler file. Raises LaunchError if there is none."""
    address = address_of(word)
    try:
        from distributed import Client
    except ImportError:
        raise LaunchError("--dask: expected the package distributed, found none; pip install distributed") from None
    # Our messages replace Dask's warnings. Different versions of other packages do not matter here.
    warnings.filterwarnings("ignore", module="distributed")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    version = ""
    try:
        kind, version = asyncio.run(asyncio.wait_for(_answer(address), CONNECT_S))
    except Exception as error:  # of any type: no such host, no certificate, another protocol
        kind = _first_line(error) or "no answer"
    if kind != "Scheduler":
        raise LaunchError(
            f"--dask: expected a Dask scheduler at {sanitize(address)}, found none within {CONNECT_S} s ({kind})"
        )
    client = Client.__new__(Client)
    try:
        client.__init__(address, timeout=TIMEOUT_S, set_as_default=False)
    except Exception as error:  # incompatible versions cause errors of any type
        client.status = "closed"  # otherwise closing it would wait for minutes
        raise LaunchError(
            f"--dask: expected a Dask that is compatible with ours at {sanitize(address)}, got {sanitize(version)}; pip "
            f"install distributed=={sanitize(version)} here, or ours there ({_first_line(error)})"
        ) from None
    try:
        yield client
    finally:
        with suppress(OSError):  # the scheduler hangs
            client.close(CONNECT_S)


def _first_line(error: Exception) -> str:
    return sanitize(str(error).partition("\n")[0])


async def _answer(address: str) -> tuple[str, str]:
    """The type of Dask process at an address, and its version."""
    from distributed import rpc
    from distributed.security import Security

    async with rpc(address, timeout=CONNECT_S, connection_args=Security().get_connection_args("client")) as server:
        scheduler = cast(Any, server)  # a proxy with all methods of the scheduler
        kind = (await scheduler.identity())["type"]
        return kind, (await scheduler.versions())["packages"]["distributed"] if kind == "Scheduler" else ""
