"""One snapshot, many views: each says the same word, the same time left, and what scripts read has one schema."""

import json
import os
import re
import subprocess
from collections import Counter

import pytest
from click.testing import CliRunner

import coordinator
from benchmarks.meter import Counting
from fav.monitor.progress import ProgressTracker
from fav.monitor.schema import nodes_schema, snapshot_schema
from fav.monitor.snapshot import JobStatus, NodeStatus, SnapshotReader, status_of
from fav.monitor.text import lines
from fav.pipeline.task_names import frame_task
from fav.report.data import collect
from fav.report.html import summary
from fav.util.images import encode_png
from shared import attempts, control
from shared.claims import Claims
from shared.control import ControlCommand
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.identity import Identity
from shared.jobs import find_job
from shared.membership import Node
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.fake_video_job import PICTURE, make_film, paint, put
from tests.helpers.job_system import join

FRAME_S = 2.0  # that a node takes for a frame of `half_done`


def call(share, *words: str) -> str:
    made = CliRunner().invoke(coordinator.main, [words[0], str(share.layout.root), *words[1:]])
    assert made.exit_code == 0, made.output
    return made.output


def dead(share) -> Node:
    """A node of this machine whose process is gone."""
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True)
    node = Node(share, Identity(**{**vars(Identity.here()), "pid": int(gone.stdout), "start": 1}))
    node.join()
    return node


def paint_at(job, number: int, published: float) -> None:
    put(job, frame_task(number), encode_png(PICTURE, {}))
    os.utime(job.layout.result(frame_task(number)), (published, published))


def half_done(share, node: Node):
    """A film of two shots of 100 frames. Half of each is painted, and `node` is at the next frame of both."""
    job = make_film(share, 200, 100)
    for number in range(50):
        for shot in (0, 100):
            paint_at(job, shot + number, 1e9 + FRAME_S * number)
    for number in (50, 150):
        Claims(node, job).claim(frame_task(number))
    return job


# ---- one word
@pytest.fixture
def moment(share, monkeypatch):
    """Nodes of all kinds and jobs of several; the nodes by the word that is meant."""
    monkeypatch.setattr("fav.monitor.snapshot.SURE_S", 3.0)  # so long the silent one is listened to
    nodes = {
        "busy": join(share),
        "waiting": join(share),
        "draining": join(share),
        "stopping": join(share),
        "silent": join(share, host="far-away"),
        "dead": dead(share),
    }
    half_done(share, nodes["busy"])
    make_film(share, 200, 100, "other").layout.flag("paused").touch()
    make_film(share, 200, 100, "third")
    job = make_film(share, 200, 100, "spoiled")
    for _ in range(3):
        attempts.record(nodes["busy"], job, frame_task(3), "raised", "Traceback\nValueError: three", attempts.nonce())
    control.send(share, nodes["draining"].identity.incarnation, ControlCommand.DRAIN)
    control.send(share, nodes["stopping"].identity.incarnation, ControlCommand.STOP)
    long_ago = share.now() - 300
    os.utime(nodes["silent"].heartbeat_file, (long_ago, long_ago))
    return {node.identity.incarnation: word for word, node in nodes.items()}


JOBS = {"film": "running", "other": "paused", "third": "nodes are getting ready", "spoiled": "failed"}


def test_all_views_say_the_same_word_of_each_node_and_job(share, moment):
    told = call(share, "status", "--verbose")
    assert dict(re.findall(r"^node (\S+): (\w+) \(", told, re.M)) == moment
    assert dict(re.findall(r"^(\w+): ([\w ]+)$", told, re.M)) == JOBS
    told = call(share, "status")
    table = [line.strip("│ ").split("│") for line in told.splitlines() if "│" in line]
    assert {row[0].strip(): row[1].strip() for row in table} == JOBS
    assert Counter(moment.values()) == {word: int(count) for count, word in re.findall(r"(\d+) (\w+)[,;]", told)}
    record = json.loads(call(share, "status", "--json"))
    assert {node["node"]: node["state"] for node in record["nodes"]} == moment
    assert {job["name"]: job["state"] for job in record["jobs"]} == JOBS
    record = json.loads(call(share, "nodes", "--json"))
    assert {node["node"]: node["state"] for node in record["nodes"]} == moment
    table = [line.strip("│ ").split("│") for line in call(share, "nodes").splitlines() if "│" in line]
    assert {row[0].strip(): row[-1].strip() for row in table} == moment
    watched = lines(SnapshotReader(open_share(share.layout.root, read_only=True)).read())
    assert (
        dict(re.fullmatch(r"node (\S+): (\w+)", line).groups() for line in watched if line.startswith("node "))
        == moment
    )
    assert dict(re.match(r"(\w+): ([\w ]+)", line).groups() for line in watched if not line.startswith("node ")) == JOBS
    assert summary(collect(find_job(share, "film")))["state"] == JOBS["film"]


def test_node_is_busy_though_another_job_is_asked_for(share, node):
    half_done(share, node)
    make_film(share, 200, 100, "other")
    (one,) = json.loads(call(share, "status", "other", "--json"))["nodes"]
    assert one["state"] == "busy" and one["tasks"] == ["film frame.0000050", "film frame.0000150"]


def test_heartbeat_that_was_seen_to_change_is_young_whatever_the_clocks_say(share):
    far, reader = join(share, host="far-away"), SnapshotReader(share)
    os.utime(far.heartbeat_file, (1e9, 1e9))
    assert reader.read().nodes[0].state == NodeStatus.SILENT
    os.utime(far.heartbeat_file, (1e9 + 4, 1e9 + 4))
    (one,) = reader.read().nodes
    assert one.state == NodeStatus.WAITING and one.heard_s < 4


@pytest.mark.parametrize("flags, claims, failed, alive, word", [
    ({"finished", "paused"}, ["frame.0000001"], [], True, JobStatus.FINISHED), ({"cancelled"}, [], [], True, JobStatus.CANCELLED),
    ({"paused"}, ["frame.0000001"], [], True, JobStatus.PAUSED), ({"priority"}, ["frame.0000001"], ["frame.0000003"], True, JobStatus.RUNNING),
    (set(), [], ["frame.0000003"], True, JobStatus.FAILED), (set(), [], ["measure.0000000"], True, JobStatus.STARTING),
    (set(), [], [], False, JobStatus.WAITING)])  # fmt: skip
def test_job_has_one_state(flags, claims, failed, alive, word):
    assert status_of(flags, claims, failed, alive) == word


# ---- one estimate of the time left
def test_all_views_say_the_same_time_left(share, node):
    job = half_done(share, node)
    follower = ProgressTracker(job)
    assert follower.poll(at_once=True) == (100, 200, None, None)
    for shot in (0, 100):
        paint_at(job, shot + 50, 1e9 + FRAME_S * 50)
    left = pytest.approx(49 * FRAME_S, rel=0.05)  # two nodes paint a shot each; and the film is stitched
    rate = pytest.approx(2 / FRAME_S, rel=0.05)
    assert follower.poll(at_once=True) == (102, 200, rate, left)
    (told,) = json.loads(call(share, "status", "--json"))["jobs"]
    assert (told["rate"], told["left"]) == (rate, left)
    (now,) = SnapshotReader(share).read().jobs
    assert (now.rate, now.left) == (rate, left)
    assert "102 of 200  1.00 a second, 1 min 39 s left" in call(share, "status")
    assert "102 of 200 frames, 1.00 a second, 1 min 39 s left" in "\n".join(lines(SnapshotReader(share).read()))


# ---- what scripts read
def problems(value, schema: dict, at: str = "") -> list[str]:
    """Where a value is not as a JSON Schema says, of the words that ours uses."""
    if "anyOf" in schema:
        found = [problems(value, one, at) for one in schema["anyOf"]]
        return [] if [] in found else sum(found, [])
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{at}: {value!r}"]
    kinds = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
        "array": list,
        "object": dict,
    }
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool) and schema["type"] != "boolean":
        return [f"{at}: {value!r} is no {schema['type']}"]
    if schema["type"] == "array" and "prefixItems" in schema:
        if len(value) != schema["minItems"]:
            return [f"{at}: {len(value)} items"]
        return [
            line
            for number, (one, part) in enumerate(zip(value, schema["prefixItems"]))
            for line in problems(one, part, f"{at}[{number}]")
        ]
    if schema["type"] == "array":
        return [line for number, one in enumerate(value) for line in problems(one, schema["items"], f"{at}[{number}]")]
    if schema["type"] == "object":
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        lacking = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        strange = [f"{at}.{name} is not known" for name in value if name not in known and more is False]
        parts = [(name, known.get(name, more)) for name in value if isinstance(known.get(name, more), dict)]
        return (
            lacking + strange + [line for name, part in parts for line in problems(value[name], part, f"{at}.{name}")]
        )
    return []


def test_what_scripts_read_is_as_the_schema_says(share, moment):
    record, schema = json.loads(call(share, "status", "--json")), snapshot_schema()
    assert problems(record, schema) == [] and record["version"] == 1
    spoiled = next(job for job in record["jobs"] if job["name"] == "spoiled")
    assert [attempt["why"] for attempt in spoiled["attempts"]["frame.0000003"]] == ["raised"] * 3 and spoiled[
        "troubles"
    ] == {"raised": 3}
    assert problems(json.loads(call(share, "nodes", "--json")), nodes_schema()) == []
    spoiled["left"], spoiled["state"], record["nodes"][0]["pid"] = "soon", "busy", True
    del spoiled["film"]
    assert len(problems(record, schema)) == 5


def test_each_field_is_documented_with_its_type():
    text = (ROOT / "docs" / "reference" / "status-json.md").read_text()
    parts = {
        title: dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", body, re.M))
        for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    }
    top = snapshot_schema()["properties"]
    job = top["jobs"]["items"]["properties"]
    attempt = job["attempts"]["additionalProperties"]["items"]["properties"]
    for title, fields in (
        ("The document", top),
        ("A job", job),
        ("An attempt", attempt),
        ("A node", top["nodes"]["items"]["properties"]),
    ):
        assert {name: kind.strip() for name, kind in parts[title].items()} == {
            name: in_words(kind) for name, kind in fields.items()
        }
    for word in (*JobStatus, *NodeStatus):
        assert re.search(rf"^\| `{word}` \|", text, re.M)


def in_words(schema: dict) -> str:
    """A type as the documentation writes it."""
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    if "const" in schema:
        return "integer"
    if "enum" in schema:
        return "state"
    if schema["type"] == "array" and "prefixItems" in schema:
        return f"[{', '.join(map(in_words, schema['prefixItems']))}]"
    if schema["type"] == "array":
        return f"array of {in_words(schema['items'])}s"
    if "properties" in schema:
        names = {"claims": "job", "heard_s": "node", "why": "attempt"}
        return next(name for field, name in names.items() if field in schema["properties"])
    if schema["type"] == "object":
        return f"object of {in_words(schema['additionalProperties'])}"
    return schema["type"]


# ---- what looking costs, and changes
def test_looking_changes_nothing_though_the_share_could_be_written_to(share, moment):
    def state() -> dict:
        return {
            path: (info.st_mtime_ns, info.st_mode)
            for path in [share.layout.root, *share.layout.root.rglob("*")]
            for info in [path.lstat()]
        }

    before = state()
    SnapshotReader(share).read()
    SnapshotReader(share).nodes()
    assert state() == before


def test_looking_again_costs_the_same_whatever_the_length_of_the_film(root):
    root.mkdir()
    share = open_share(root, FileSystem(Counting()))
    costs = []
    for frames in (1000, 8000):
        paint(make_film(share, frames, 100, f"of-{frames}"), range(frames - 100))
        reader = SnapshotReader(share, f"of-{frames}")
        reader.read()
        before = share.system.os.total
        reader.read()
        costs.append(share.system.os.total - before)
    assert costs[1] - costs[0] <= 20, costs  # the other job's claims


ODD = {
    "a stranger's file": lambda share: share.layout.name("strange").touch(),
    "a damaged manifest": lambda share: make_film(share, 10, 10, "strange") and (
        share.layout.named_manifest("strange").write_bytes(b"{")
    ),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("words", ["status", "status --json", "status --watch", "status --watch --json", "nodes",
                                   "nodes --json", "recover"])  # fmt: skip
def test_command_that_could_not_read_a_job_does_the_rest_and_says_so_by_its_exit_code(share, odd, words):
    job = make_film(share, 10, 10)
    with temporary_member(share) as operator:
        job.set_flag(operator, "cancelled")
    name, *options = words.split()
    line = [name, str(share.layout.root), *options]
    whole = CliRunner().invoke(coordinator.main, line)
    assert whole.exit_code == 0 and whole.output, whole.output
    odd(share)
    made = CliRunner().invoke(coordinator.main, line)
    assert made.exit_code == 2 and "strange" in made.output and "Traceback" not in made.output, made.output
    if "--watch" not in words:
        assert made.stdout == whole.stdout or name == "status" and job.name in made.stdout
        assert made.stderr.startswith("error: ") and made.stderr.count("\n") == 1
    if "--json" in words:
        json.loads(made.stdout)


def test_share_whose_only_job_cannot_be_read_names_it(share):
    ODD["a damaged manifest"](share)
    made = CliRunner().invoke(coordinator.main, ["pause", str(share.layout.root)])
    assert made.exit_code == 2 and "expected the manifest of a job" in made.output, made.output
