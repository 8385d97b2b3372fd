"""The job layer in a simulated world: whatever happens, in whatever order, nothing is lost, spoiled or done for ever.

The long suite: `pytest -m long tests/faults/test_simulation.py -s` (FAV_SEEDS=20000 by default; half an hour on 2 cores).
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fav.pipeline.training_job import states, train_task
from fav.training.job_plan import TrainingPlan
from tests.helpers.checkout import ROOT
from tests.simulation.many import CI_SEEDS, Outcome, catch, occurred, outcomes, pool, told
from tests.simulation.mutations import MUTATIONS
from tests.simulation.training import TrainingPlay
from tests.simulation.world import EVERY_FAULT, Violation, World


@pytest.fixture(scope="module")
def runs() -> list[Outcome]:
    return list(outcomes(CI_SEEDS))


@pytest.fixture(scope="module")
def caught() -> dict[str, int | None]:
    """For each wrong protocol, a seed that finds it out."""
    with pool() as workers:
        return dict(zip(MUTATIONS, workers.map(catch, MUTATIONS)))


def assert_kept(runs: list[Outcome]) -> None:
    broken = [run for run in runs if run.broken]
    if broken:
        others = "".join(f"\nseed {run.seed}: {run.broken.splitlines()[-1]}" for run in broken[1:20])
        pytest.fail(
            f"{len(broken)} of {len(runs)} seeds broke a promise; the first:\n{told(broken[0].seed, lines=80)}{others}",
            pytrace=False,
        )


def test_all_promises_hold_in_every_run(runs):
    assert_kept(runs)


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_fault_occurs_in_at_least_one_of_ten_runs(runs, fault):
    assert occurred(runs)[fault] >= len(runs) / 10


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_wrong_protocol_is_found_out(caught, mutation):
    assert caught[mutation] is not None


@pytest.mark.parametrize("leases, excused", [(0.5, 0), (0.9, 2), (3.0, 2)])
def test_cut_excuses_the_nodes_of_a_machine_only_where_it_silences_their_hearts(monkeypatch, leases, excused):
    world = World(1)
    world.lease = 60.0
    host = world.hosts[0]
    monkeypatch.setattr(host, "at_work", lambda: 3)
    monkeypatch.setattr(world.rnd, "uniform", lambda least, most: leases)
    monkeypatch.setattr(world.rnd, "random", lambda: 1.0)  # the call itself reaches the server
    agent = SimpleNamespace(process=world.process(host))
    assert world._strike("cut", agent, host.client, "stat", Path("/share/nodes"), lambda: None, 0) is None
    assert host.cut == world.now + 60.0 * leases and world.struck_beside == excused


@pytest.mark.parametrize("seed", [3, 8, 12])
def test_run_is_the_same_whenever_and_wherever_it_is_replayed(seed, tmp_path):
    elsewhere = tmp_path / "a checkout that lies deeper"
    for room in ("shared", "tests"):
        shutil.copytree(ROOT / room, elsewhere / room)
    shutil.copy(ROOT / "node.py", elsewhere)  # messages name the scripts of a checkout where it is one
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", str(seed)],
            cwd=place,
            text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
        ).stdout
        for hash_seed, place in (("1", ROOT), ("2", elsewhere))
    }
    assert len(told) == 1 and len(told.pop().splitlines()) > 300


@pytest.mark.parametrize("seed", range(12))
def test_training_ends_with_the_same_states_and_style_whatever_happens(seed):
    TrainingPlay(seed).run()


def _remove_all_old(plan, chain):
    for step in states(plan.job, chain):
        plan.node.share.system.unlink(plan.job.layout.result(train_task(chain, step)))


def _trainer_in_memory(plan, chain, steps):
    if plan._chain and plan._chain.number == chain:
        return plan._chain.prepared.trainer  # whatever its state is
    return TRAINER(plan, chain, steps)


TRAINER = TrainingPlan._trainer


@pytest.mark.parametrize(
    "name, wrong, finder", [("_remove_old", _remove_all_old, 0), ("_trainer", _trainer_in_memory, 48)]
)
def test_wrong_plan_of_a_training_is_found_out(monkeypatch, name, wrong, finder):
    monkeypatch.setattr(TrainingPlan, name, wrong)
    with pytest.raises(Violation):
        for seed in dict.fromkeys([finder, *range(100)]):
            TrainingPlay(seed).run()


@pytest.mark.long
def test_all_promises_hold_in_very_many_runs(capsys):
    began = time.monotonic()
    runs = list(outcomes(range(int(os.environ.get("FAV_SEEDS", 20_000)))))
    with capsys.disabled():
        counts = occurred(runs)
        print(f"\n{len(runs)} seeds in {time.monotonic() - began:.0f} s; in how many each fault occurred:")
        print(", ".join(f"{fault} {counts[fault]}" for fault in EVERY_FAULT))
    assert_kept(runs)
