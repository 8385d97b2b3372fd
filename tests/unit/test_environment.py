"""The environment of tests: the user's settings of threads, colors, proxies and of this program are none of theirs."""

import json
import os
import subprocess
import sys

from tests.helpers.checkout import ROOT

THEIRS = (
    "OMP_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS",
    "DASK_SCHEDULER_ADDRESS", "http_proxy", "HTTPS_PROXY", "all_proxy", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR",
    "XDG_DATA_HOME", "FAV_SHARE", "FAV_ENTRY",
)  # fmt: skip
KEPT = ("FAV_TEST_DATA", "FAV_TEST_MOUNT", "TMPDIR", "PATH", "MY_OMP_NOTES")
SHOW = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"


def test_tests_and_what_they_start_have_none_of_the_users_settings():
    given = {**os.environ, **dict.fromkeys((*THEIRS, *KEPT[:2], KEPT[4]), "7"), "GOMP_SPINCOUNT": "30000"}
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert [name for name in THEIRS if name in seen] == [] and seen["GOMP_SPINCOUNT"] == "0"
    assert all(seen.get(name) == given.get(name) for name in KEPT)
