"""DeepFlow 2: the authors' programs, DeepMatching (Revaud et al. 2016) and DeepFlow (Weinzaepfel et al. 2013)."""

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
from fav.flow import DOWNSCALE
from fav.flow.io import read_flo
from fav.util.fingerprint import fingerprint

BIN = Path(__file__).resolve().parents[2] / "bin"
PROGRAMS = {
    "deepmatching-static": "DeepMatching at https://thoth.inrialpes.fr/src/deepmatching/",
    "deepflow2-static": "DeepFlow 2 at https://thoth.inrialpes.fr/src/deepflow/",
}
HANG_S = 3600  # a 4K frame takes them many minutes; an hour is no honest work


def check() -> None:
    """Raises FavError where one of the two programs is not there, with the place to get it."""
    for name in PROGRAMS:
        program(name)


def program(name: str) -> Path:
    """Where one of the PROGRAMS is: in bin/ of the checkout, else on PATH. FavError if it is in neither."""
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if found is None:
        raise FavError(
            f"flow deepflow2: expected the program {name} in {BIN} or on PATH, got none; "
            f"get it from {PROGRAMS[name]} and make it executable"
        )
    return Path(found)


def program_hashes() -> str:
    """The beginnings of the two programs' fingerprints, which have no versions."""
    return " ".join(fingerprint(program(name))[:8] for name in PROGRAMS)


def make(
    threads: int | None = None, downscale: int = DOWNSCALE, hang_s: float = HANG_S
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Flow by `deepmatching A B -nt THREADS -downscale N | deepflow2 A B OUT.flo -match`, in a temporary directory.

    `threads` None are those of all cores; the flow is the same whatever their number. `downscale` counts halvings.
    The function raises FavError, with the last line that the program wrote, where one of them fails, and where
    they have not ended after `hang_s` seconds; it leaves no process behind.
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
            words = ["-nt", str(threads or 0), "-downscale", str(downscale)]
            _pipe([matching, a, b, *words], [flow2, a, b, out, "-match"], hang_s)
            found = read_flo(Path(out))
        if found.shape[:2] != frame_a.shape[:2]:
            raise FavError(f"flow deepflow2: expected {(*frame_a.shape[:2], 2)}, got {found.shape} from {flow2}")
        return found

    return flow


def _pipe(first: list[str], second: list[str], limit_s: float) -> None:
    """Run `first | second`; FavError unless both end well within `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    running = []
    with tempfile.TemporaryFile() as first_says, tempfile.TemporaryFile() as second_says:
        try:
            running.append(subprocess.Popen(first, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=first_says))
            with running[0].stdout as matches:  # closed here, so that `first` notices when `second` is gone
                running.append(subprocess.Popen(second, stdin=matches, stdout=subprocess.DEVNULL, stderr=second_says))
            for process in running:
                process.wait(max(deadline - time.monotonic(), 0))
            failed = [
                (process, says) for process, says in zip(running, (first_says, second_says)) if process.returncode
            ]
            if failed:
                # A writer that died of the broken pipe is not the cause.
                process, says = failed[-1 if failed[0][0].returncode == -signal.SIGPIPE else 0]
                raise FavError(
                    f"flow deepflow2: {Path(process.args[0]).name} ended with {process.returncode}: {_last_line(says)}"
                )
        except subprocess.TimeoutExpired as error:
            raise FavError(f"flow deepflow2: {Path(error.cmd[0]).name} did not end in {limit_s:g} s") from error
        except OSError as error:
            raise FavError(f"flow deepflow2: {error.filename} does not start: {error.strerror}") from error
        finally:
            for process in running:
                process.kill()
                process.wait()


def _last_line(says) -> str:
    says.seek(0)
    lines = says.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
