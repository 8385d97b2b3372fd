"""Tell which tests take the processor: `bash bin/test -p tests.helpers.cpu_seconds --cpu=FILE`.

The time of a test is that of its process, and of the processes which it has started and waited for. What a node's own children
take counts when the node ends in order; a killed one takes it along. FILE gets a line for each phase of each test, tab separated:
seconds, processes started, programs, phase, outcome and name. The end of the run has the sums by file.
"""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path

import pytest

SHOWN = 40  # files in the table at the end


def cpu_s() -> float:
    """Return the seconds of the processor that this process and its ended children have taken."""
    return sum(os.times()[:4])


class Meter:
    """What this process has taken since it was asked last."""

    def __init__(self) -> None:
        self.before = cpu_s()
        self.started: Counter[str] = Counter()
        sys.addaudithook(self.hear)
        spawn = util.spawnv_passfds

        def counted(path: bytes, words: list, passed: list) -> int:
            self.started["spawned worker"] += 1
            return spawn(path, words, passed)

        util.spawnv_passfds = counted

    def hear(self, event: str, words: tuple) -> None:
        """Count the programs that are started."""
        if event == "subprocess.Popen":
            line = (
                [os.fsdecode(word) for word in words[1]] if not isinstance(words[1], (str, bytes)) else [str(words[1])]
            )
            name = Path(line[0]).name
            script = next((Path(word).name for word in line[1:] if not word.startswith("-")), "")
            script = " -c" if "-c" in line else f" {script}"
            name = name + script if name.startswith("python") else name
            self.started[name.encode("ascii", "replace").decode()] += 1

    def take(self) -> tuple[float, dict[str, int]]:
        """Return seconds and programs since the last call."""
        now = cpu_s()
        answer = now - self.before, dict(self.started)
        self.before = now
        self.started.clear()
        return answer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu", metavar="FILE", help="write the seconds of the processor of each test there")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--cpu"):
        config.pluginmanager.register(Recorder(config), "cpu seconds recorder")


class Recorder:
    """In a worker, measures; where the run is shown, collects."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.meter = Meter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.programs: Counter[str] = Counter()
        self.file = None if hasattr(config, "workerinput") else open(config.getoption("--cpu"), "w", buffering=1)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        seconds, _ = self.meter.take()
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output["collection_cpu_s"] = seconds
        else:
            self.seconds["(collection)"] += seconds

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        self.seconds["(collection)"] += getattr(node, "workeroutput", {}).get("collection_cpu_s", 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        report = yield
        report.cpu = self.meter.take()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.file is None or not hasattr(report, "cpu"):
            return
        seconds, started = report.cpu
        self.seconds[report.nodeid.split("::")[0]] += seconds
        self.programs.update(started)
        programs = ", ".join(f"{count} {name}" for name, count in sorted(started.items()))
        self.file.write(
            f"{seconds:.3f}\t{sum(started.values())}\t{programs}\t{report.when}\t{report.outcome}\t{report.nodeid}\n"
        )

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.file is None:
            return
        show = terminalreporter
        show.section("seconds of the processor")
        for name, seconds in sorted(self.seconds.items(), key=lambda pair: -pair[1])[:SHOWN]:
            show.write_line(f"{seconds:8.1f} s  {name}")
        show.write_line(f"{sum(self.seconds.values()):8.1f} s  in all")
        show.write_line(
            "processes started by tests: " + ", ".join(f"{n} {name}" for name, n in self.programs.most_common(15))
        )
