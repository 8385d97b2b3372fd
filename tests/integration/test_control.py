"""Orders through the share: nodes that somebody else has started are asked to leave, and do; and the table of nodes."""

import json
import os
import time

import pytest
from click.testing import CliRunner

import coordinator
from fav.cli.node import node as node_command
from shared import attempts, control, results
from shared.claims import Claims, claimed
from shared.control import ControlCommand
from shared.errors import JobQueueError
from shared.identity import Identity
from shared.membership import remove_node
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import evict, is_clean, join, start
from tests.helpers.waiting import wait_for


def call(*words):
    return CliRunner().invoke(coordinator.main, [str(word) for word in words])


def test_drained_node_finishes_its_task_and_leaves_nothing(share, root):
    job = toy.create(share, chains=1, length=1000, slow=0.4)
    node = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(1000)) > 1)
    assert "asked to leave after its current task" in call("drain", root).output
    output, _ = node.communicate(timeout=20)
    expected = "asked by the operator (drain): stopping after the current frame"
    assert node.returncode == 130 and expected in output, output
    assert claimed(job) == {} and is_clean(share) and list(share.layout.control.iterdir()) == []


def test_stopped_node_leaves_in_the_midst_of_a_task_and_that_counts_as_no_attempt(share, root):
    job = toy.create(share, chains=1, length=2, slow=60)
    node = start(root, "toy")
    wait_for(lambda: claimed(job))
    began = time.monotonic()
    assert call("stop", root).exit_code == 0
    node.communicate(timeout=20)
    assert node.returncode == 130 and time.monotonic() - began < 10
    assert claimed(job) == {} and is_clean(share) and attempts.attempts_of_task(job, toy.link_task(0)) == []


def test_only_the_node_that_is_meant_leaves(share, root):
    job = toy.create(share, chains=2, length=1000, slow=0.05)
    nodes = [start(root, "toy") for _ in range(2)]
    wait_for(lambda: len(claimed(job)) == 2)
    meant = next(name for name in share.system.list(share.layout.nodes) if f"-{nodes[0].pid}-" in name)
    assert call("drain", root, meant).output == f"{meant}: asked to leave after its current task\n"
    nodes[0].communicate(timeout=20)
    assert nodes[1].poll() is None and len(share.system.list(share.layout.nodes)) == 1
    call("stop", root)
    nodes[1].communicate(timeout=20)
    assert is_clean(share)


def test_hosts_have_the_names_of_the_hosts_file_everywhere(share, root, monkeypatch):
    job = toy.create(share, chains=2, length=1000, slow=0.05)
    nodes = []
    for label in ("labA", "labB"):
        monkeypatch.setenv("TOY_LABEL", label)
        nodes.append(start(root, "toy"))
    wait_for(lambda: len(claimed(job)) == 2)
    told = json.loads(call("nodes", root, "--json").output)["nodes"]
    assert {one["node"].split("-")[0] for one in told} == {one["label"] for one in told} == {"labA", "labB"}
    assert len({one["host"] for one in told}) == 1
    table = call("nodes", root).output
    assert "labA" in table and "labB" in table and told[0]["host"] not in table.replace("labA", "").replace("labB", "")
    result = call("drain", root, "labB")
    assert result.exit_code == 0 and len(result.output.splitlines()) == 1 and result.output.startswith("labB-")
    nodes[1].communicate(timeout=20)
    assert nodes[0].poll() is None
    before = share.system.list(share.layout.nodes)
    assert call("recover", root, "--assume-dead", "labA").exit_code == 0
    assert call("recover", root, "--assume-dead", "labX").exit_code == 2
    wait_for(lambda: set(share.system.list(share.layout.nodes)) - set(before))  # it lives, and joins again
    call("stop", root, told[0]["host"])  # the machine's own name still means all its nodes
    nodes[0].communicate(timeout=20)
    assert is_clean(share)


def test_a_node_of_a_version_before_has_no_label(share):
    old = {name: value for name, value in vars(join(share).identity).items() if name != "label"}
    assert Identity.from_bytes(json.dumps(old).encode(), share.layout.nodes).label == ""
    with pytest.raises(JobQueueError, match="unprintable"):
        Identity.from_bytes(json.dumps({**old, "label": "a\x1b[2J"}).encode(), share.layout.nodes)


def test_labels_of_nodes_are_plain(root):
    for wrong in ("", "a b", "a/b", "x" * 81):
        result = CliRunner().invoke(node_command, [str(root), "--label", wrong])
        assert result.exit_code == 2 and "expected 1 to 80 letters" in result.output


def test_node_that_was_taken_for_dead_hears_what_was_ordered_before(share, root):
    job = toy.create(share, chains=1, length=1000, slow=0.05)
    node = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(1000)) > 2)
    (first,) = share.system.list(share.layout.nodes)
    evict(share, first)
    control.send(share, first, ControlCommand.DRAIN)
    node.communicate(timeout=30)
    assert node.returncode == 130 and control.pending(share) == {}


def test_of_two_orders_the_stronger_counts_and_those_of_nobody_are_swept(share):
    node = join(share)
    control.send(share, node.identity.incarnation, ControlCommand.STOP)
    control.send(share, node.identity.incarnation, ControlCommand.DRAIN)
    control.send(share, node.identity.incarnation, ControlCommand.DRAIN)
    control.send(share, "gone-1-00000000", ControlCommand.DRAIN)
    (share.layout.control / "a stranger's file").touch()
    control.remove_stale(share)
    assert control.pending(share)["gone-1-00000000"] == ControlCommand.DRAIN  # it may be suspended, and wake up
    before = time.time() - control.KEEP_S - 60
    os.utime(share.layout.command_file("gone-1-00000000", "drain"), (before, before))
    os.utime(share.layout.command_file(node.identity.incarnation, "stop"), (before, before))
    control.remove_stale(share)
    assert control.pending(share) == {node.identity.incarnation: ControlCommand.STOP}
    control.clear_commands(share, node.identity.incarnation)
    assert control.pending(share) == {} and share.system.list(share.layout.control) == ["a stranger's file"]


def test_nobody_to_ask_is_one_line(share, root):
    for words in (("drain", root), ("stop", root), ("drain", root, "nobody")):
        result = call(*words)
        assert result.exit_code == 2 and result.output.startswith("error: ") and len(result.output.splitlines()) == 1


def test_table_of_nodes_tells_who_works_on_what_and_who_is_silent(share, root, monkeypatch):
    monkeypatch.setattr("fav.monitor.snapshot.SURE_S", 2.0)
    job = toy.create(share, chains=1, length=1000, slow=0.2)
    node = start(root, "toy")
    wait_for(lambda: claimed(job))
    Claims(join(share, host="far-away"), job).claim(toy.SUM)
    told = {one["host"]: one for one in json.loads(call("nodes", root, "--json").output)["nodes"]}
    far = told.pop("far-away")
    (near,) = told.values()
    assert far["state"] == "silent" and far["tasks"] == ["toy sum.0000000"]
    assert near["state"] == "busy" and near["tasks"][0].startswith("toy link.") and near["pid"] == node.pid
    node.kill()
    node.communicate()
    remove_node(share, far["node"])
    table = call("nodes", root).output
    assert "dead" in table and near["node"] in table and " s ago" in table
