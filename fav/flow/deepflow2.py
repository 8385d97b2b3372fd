"""DeepFlow 2: runs the authors' programs DeepMatching (Revaud et al. 2016) and DeepFlow (Weinzaepfel et al. 2013)."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow.io import read_flo
from fav.util.fingerprint import fingerprint

BIN = Path(__file__).resolve().parents[2] / "bin"
PROGRAMS = {
    "deepmatching-static": "DeepMatching at https://thoth.inrialpes.fr/src/deepmatching/",
    "deepflow2-static": "DeepFlow 2 at https://thoth.inrialpes.fr/src/deepflow/",
}
HANG_S = 3600  # a 4K frame takes many minutes; after an hour, the programs count as hung


def check() -> None:
    """Raise FavError, with a download address, if one of the two programs is missing."""
    for name in PROGRAMS:
        program(name)


def program(name: str) -> Path:
    """Return the path of one of the PROGRAMS: in bin/ of the checkout, else on PATH. Raises FavError if it is missing."""
    path = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if path is None:
        raise FavError(
            f"flow deepflow2: expected the program {name} in {BIN} or on PATH, got none; "
            f"get it from {PROGRAMS[name]} and make it executable"
        )
    return Path(path)


def program_hashes() -> str:
    """Return the beginnings of the two programs' fingerprints, since the programs have no version numbers."""
    return " ".join(fingerprint(program(name))[:8] for name in PROGRAMS)


def make(threads: int | None, downscale: int, hang_s: float = HANG_S) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make a function that runs `deepmatching A B -nt THREADS -downscale N | deepflow2 A B OUT.flo -match`.

    The function works in a temporary directory, and always ends the processes. It raises FavError, with the last line of
    output, if a program fails or does not end in time.

    Args:
        threads: Of DeepMatching; None: all cores. They do not affect the flow.
        downscale: How many times the frames are halved before they are matched.
        hang_s: The time limit in seconds.
    """
    matching, flow2 = (str(program(name)) for name in PROGRAMS)
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise FavError(
            f"flow deepflow2: expected a temporary directory to work in, got none ({error.strerror}); set TMPDIR"
        ) from None

    def flow(frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="fav-deepflow2-") as name:
            a, b, out = (str(Path(name, file)) for file in ("a.png", "b.png", "out.flo"))
            cv2.imwrite(a, frame_a)
            cv2.imwrite(b, frame_b)
            options = ["-nt", str(threads or 0), "-downscale", str(downscale)]
            _pipe([matching, a, b, *options], [flow2, a, b, out, "-match"], hang_s)
            result = read_flo(Path(out))
        if result.shape[:2] != frame_a.shape[:2]:
            raise FavError(f"flow deepflow2: expected {(*frame_a.shape[:2], 2)}, got {result.shape} from {flow2}")
        return result

    return flow


def _pipe(first: list[str], second: list[str], limit_s: float) -> None:
    """Run `first | second`. Raises FavError unless both succeed within `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    processes = []
    with tempfile.TemporaryFile() as first_errors, tempfile.TemporaryFile() as second_errors:
        logs = first_errors, second_errors
        try:
            processes.append(
                subprocess.Popen(first, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=first_errors)
            )
            with processes[0].stdout as matches:  # closed here, so that `first` gets SIGPIPE if `second` ends
                processes.append(
                    subprocess.Popen(second, stdin=matches, stdout=subprocess.DEVNULL, stderr=second_errors)
                )
            for process in processes:
                process.wait(max(deadline - time.monotonic(), 0))
            failed = [(process, log) for process, log in zip(processes, logs) if process.returncode]
            if failed:
                # If the first program ended by SIGPIPE, the second is the cause.
                process, log = failed[-1 if failed[0][0].returncode == -signal.SIGPIPE else 0]
                raise FavError(
                    f"flow deepflow2: {Path(process.args[0]).name} ended with {process.returncode}: {_last_line(log)}"
                )
        except subprocess.TimeoutExpired as error:
            raise FavError(f"flow deepflow2: {Path(error.cmd[0]).name} did not end in {limit_s:g} s") from error
        except OSError as error:
            raise FavError(f"flow deepflow2: {error.filename} does not start: {error.strerror}") from error
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _last_line(log) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed no error"
