"""Memory stays with the process: in processes of their own, since it cannot be undone."""

import ctypes
import subprocess
import sys

import pytest

from fav.util import malloc
from tests.helpers.checkout import ROOT

PROGRAM = """
import resource
import numpy as np
from fav.util.malloc import malloc_trim, tune_malloc

MB, PAGES = 1 << 20, (1 << 20) // 4096

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024

def fresh(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.empty(megabytes * MB, np.uint8)
    array[::4096] = 1
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / PAGES

assert tune_malloc()
{lines}
"""


def run(lines: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(lines=lines)], cwd=ROOT, check=True)


needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")


@needs_glibc
def test_large_arrays_reuse_the_memory_of_those_before():
    run("fresh(300); assert fresh(300) < 10 and fresh(200) < 10")


@needs_glibc
def test_arrays_of_other_threads_reuse_it_too():
    run(
        "from threading import Thread\n"
        "fresh(300)\n"
        "found = []\n"
        "thread = Thread(target=lambda: found.append(fresh(300)))\n"
        "thread.start(); thread.join()\n"
        "assert found[0] < 10"
    )


@needs_glibc
def test_what_is_given_back_is_the_systems():
    run("before = held(); fresh(300)\nassert held() > before + 250\nmalloc_trim()\nassert held() < before + 80")


def test_other_c_libraries_keep_their_own_ways(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert malloc.tune_malloc() is False
    malloc.malloc_trim()
