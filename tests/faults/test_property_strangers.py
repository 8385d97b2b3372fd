"""No command and no node changes what strangers have: in a share, beside it, or in a directory before it became one.

A tree of entries is drawn, under our own names, names that look like ours, and any others. Then a series of operations
is drawn, and the clock is moved on by hours. Nothing that is drawn proves to be ours: that takes a name of our form
*and* content of ours.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.errors import JobQueueError
from shared.jobs import Job, find_job
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.strangers import (
    CONTENTS,
    FIFO,
    GONE,
    HEX12,
    HEX16,
    IDENTITY,
    MARKER,
    NAMES,
    NEWER,
    ROOMS,
    Thing,
    Watched,
    differences,
    directory,
    file,
    holding,
    lay,
    link,
    look,
    manifest,
)
from tests.helpers.strangers_world import Films, World, call, note, scratch

pytestmark = [pytest.mark.usefixtures("all_at_once"), pytest.mark.filterwarnings("ignore:Generating overly large repr")]

COMMON = dict(deadline=None, suppress_health_check=list(HealthCheck))
QUICK = settings(**COMMON, max_examples=35, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
LONG = settings(**COMMON, max_examples=5000, print_blob=True)


# ---- what strangers have
LINKS = ("HOME", "HOME/thesis.tex", "HOME/secrets", "HOME/void", "HOME/draft", "HOME/results", f"HOME/toy.{HEX12}",
         "HOME/toy", "HOME/creator",
         f"HOME/{GONE}", "HOME/nowhere", "../home/secrets", "..", ".", "../..", "/dev/zero", "/etc/passwd")  # fmt: skip
letters = st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
words = st.one_of(
    st.text(letters, min_size=1, max_size=8).filter(lambda text: text not in (".", "..")),
    st.binary(min_size=1, max_size=6).filter(lambda data: not {0, ord("/")} & {*data} and data not in (b".",
        b"..")).map(os.fsdecode),
    st.sampled_from(["photos", "taxes", "2025.txt", "thesis.tex", ".hidden", ".nfs of mine", "a b", "-rf", "*",
                     "x" * 255, "flow",
                     "job.json~", "notes.txt", "train.sbatch", "\n", "\x1b[2J", "[b]x", "é", "caf\udce9"]),
)  # fmt: skip
owners = st.sampled_from([None, None, 1234])
modes = st.sampled_from([None, 0o644, 0o600, 0o000, 0o777])
files = st.builds(file, st.one_of(st.sampled_from(CONTENTS), st.binary(max_size=40)), mode=modes, owner=owners)
links = st.sampled_from(LINKS).map(link)
hard = st.sampled_from(["thesis.tex", "empty", "creator", HEX16]).map(lambda name: Thing("hard", to=name))
leaves = st.one_of(files, links, hard, st.just(FIFO))
dir_modes = st.sampled_from([None, 0o700, 0o755, 0o777, 0o2775, 0o1777])


def dirs(inner: st.SearchStrategy, least: int = 0, names: st.SearchStrategy = words) -> st.SearchStrategy:
    return st.builds(lambda inside, mode, owner: Thing("directory", mode=mode, owner=owner,
                                                       inside=tuple(inside.items())),
                     st.dictionaries(names, inner, min_size=least, max_size=3), dir_modes, owners)  # fmt: skip


plain_words = words.filter(lambda name: not re.fullmatch(r"[a-z]+|[0-9]{4,}", name))  # no kind, and no shard
full = dirs(st.one_of(leaves, dirs(leaves)), 1, plain_words)  # directories that are not empty
things = st.one_of(leaves, dirs(st.one_of(leaves, dirs(leaves))))

NO_JOBS = [  # directories of a job's form that are not proven to be ours, or of a newer version
    directory(**{"creator": file(GONE.encode()), "job.json": file(NEWER), "frames": file()}),
    directory(**{"creator": file(GONE.encode()), "job.json": file(b'{"version": 1, "id"')}),
    directory(**{"creator": file(GONE.encode()), "job.json": link("HOME/job.json")}),
    directory(**{"creator": file(GONE.encode()), "job.json": FIFO}),
    directory(**{"creator": file(b"me"), "notes": file()}), directory(creator=link("HOME/creator"), notes=file()),
    directory(creator=FIFO), directory(creator=directory(0o700, mine=file())),
           directory(**{"job.json": file(NEWER), "notes": file()}),
    directory(claims=holding(("notes", file())), results=directory(frame=holding(("0000",
        holding(("0000000.png", file())))))),
    directory(**{"train.sbatch": file(), "logs": directory(one=file())}),
]  # fmt: skip
NO_NAMES = [directory(**{"job.json": file(content)}) for content in (b"", b"{", NEWER, manifest("toy"))] + [
    directory(**{"job.json": link("HOME/job.json")}), directory(**{"job.json": FIFO}),
    directory(**{"job.json": directory()}),
    directory(**{"job.json": file(manifest("other")), "notes": file()})]  # fmt: skip
no_file = st.one_of(links, st.just(FIFO), dirs(leaves))  # where ours is a file
no_empty = st.one_of(no_file, files.filter(lambda thing: thing.content))
no_directory = st.one_of(leaves, full)  # where ours is a directory of files of our names
HEX_ENTRIES = st.dictionaries(st.just(HEX16), st.one_of(links, st.just(FIFO), full), min_size=1).map(
    lambda inside: holding(*inside.items())
)


def at(place: str, names: st.SearchStrategy | list[str], what: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(st.just(place), st.sampled_from(names) if isinstance(names, list) else names, what)


IN_ROOMS = [
    at("", words, things), at("", ["check-share", f"{MARKER}~", "Tmp", "jobs.bak", "films", "photos",
                                   "control.old"], things),
    *(at(room, words, things) for room in (*ROOMS, "control")),
    at("tmp", [GONE, f"{GONE}.{HEX16}"], st.one_of(no_directory, HEX_ENTRIES)),
    at("tmp", [f"probe.{HEX16}", f"probe.twin.{HEX16}"], no_empty),
    at("nodes", [GONE], st.one_of(leaves, dirs(leaves))), at("nodes", ["copy", "notes"], st.just(file(IDENTITY))),
    at("notify", [f"{GONE}.000000007"], no_empty), at("notify", ["notes.000000001", f"{GONE}.7", GONE,
                                                             f"{GONE}.000000001~"], things),
    at("control", [f"{GONE}.drain", f"{GONE}.stop"], no_empty),
    at("control", ["notes.drain", "my.stop", f"{GONE}.go", GONE], things),
    at("logs", ["toy.host.0.log", f"{GONE}.log"], things),
    at("by-name", ["other", "film", f"toy.{HEX12}"], st.one_of(leaves, dirs(leaves), st.sampled_from(NO_NAMES))),
    at("jobs", [f"toy.{HEX12}", f"exp.{HEX12}"], st.one_of(leaves, full, st.sampled_from(NO_JOBS))),
    at("jobs", ["exp1", f"toy.{HEX12}.old", "toy", f"TOY.{HEX12.upper()}"],
       st.one_of(things, st.sampled_from(NO_JOBS))),
]  # fmt: skip
no_tasks = ["link.0000001~", "link.1", "frame.bak", "link.000000²", "LINK.0000001", "notes"]
IN_JOB = [
    at("job", plain_words, st.one_of(leaves, full)), at("job",
                                                        ["job.json~", "creator.bak", "finished~", "results.old",
                                                         "notes"], st.one_of(leaves, full)),
    *(at(f"job/{room}", no_tasks, st.one_of(leaves, full)) for room in ("claims", "failed", "inputs")),
    at("job/results", ["Photos", "link.bak", "LINK", "photos 2024"], st.one_of(leaves, full)),
    at("job/results", ["photos"], full),
    at("job/results/link", ["notes", "old", "00", "0000~"], st.one_of(leaves, full)),
    at("job/results/link/0000", ["0000000", "0000000.txt~", ".0000000.txt.swp", "x.txt", "000000².txt"],
       st.one_of(leaves, full)),
    at("job/attempts", ["NOTES", "link~"], st.one_of(leaves, full)),
    at("job/attempts/link", ["notes"], st.one_of(leaves, full)),
    at("job/attempts/link/0000", ["notes", "0000001~"], st.one_of(leaves, full)),
    at("job/inputs", ["notes.txt", "video notes.txt", "style.bak"], st.one_of(leaves, full)),
    at("dead", ["notes", "taxes", f"{HEX16}~", "job.json"], st.one_of(leaves, full)),
    at("dead", [HEX16], st.one_of(links, st.just(FIFO), full)),
]  # fmt: skip
strangers = st.lists(st.one_of(*IN_ROOMS, *IN_JOB), min_size=6, max_size=20, unique_by=lambda entry: entry[:2])
SWAPPED = [*ROOMS, "control", "job", "job/claims", "job/results", "job/results/link", "job/results/link/0000",
           "job/attempts", "job/attempts/link",
           "job/failed", "job/inputs", "by-name/toy", "dead"]  # fmt: skip
swaps = st.one_of(st.none(), st.tuples(st.sampled_from(SWAPPED), st.one_of(leaves, st.just(link("HOME/moved")))))


# ---- what is done on the share


STEPS = ["look", "visit", "create", "work", "hours", "die"]  # methods of a world
COMMANDS = ["prioritize toy 5", "pause toy", "resume toy", "recover", "recover toy --assume-dead elsewhere", "retry toy",
            "cancel toy", "drain", "stop",
            "stitch toy", "clean toy --force", "clean second --force"]  # fmt: skip
operations = st.lists(st.sampled_from(STEPS + COMMANDS), max_size=5)


def do(world: World, names: list[str]) -> None:
    for name in names:
        note(f"-> {name}")
        if name in STEPS:
            getattr(world, name)()
        else:
            call(world.root, *name.split())


def place_of(root: Path, job: Job, dead: Path, place: str) -> Path:
    first, _, rest = place.partition("/")
    return {"job": job.layout.root, "dead": dead}.get(first, root / first) / rest


def put(root: Path, job: Job, dead: Path, entries: list, swap: tuple | None) -> list[Path]:
    """Lay strangers' entries down where they belong; their paths. What `swap` replaces is moved out of the share."""
    home, paths = root.parent / "home", []
    for place, name, thing in entries:
        where = place_of(root, job, dead, place)
        where.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(where / name):
            paths.append(lay(thing, where / name, home))
    if swap:
        path = place_of(root, job, dead, swap[0])
        if path.exists():
            shutil.move(path, home / "moved")
        path.parent.mkdir(parents=True, exist_ok=True)
        paths = [one for one in paths if os.path.lexists(one)] + [lay(swap[1], path, home)]
    return paths


def in_a_share(above: Path, entries: list, swap: tuple | None, began: bool, names: list[str]) -> None:
    """Strangers' entries in a marked share with a job, begun or not; `swap`: one of our directories is replaced."""
    with scratch(above) as base:
        (root := base / "share").mkdir(mode=0o775)
        world = World(root)
        job = toy.create(world.open(), chains=1, length=2)
        if began:
            world.work()
        dead = world.die()
        paths = put(root, job, dead, entries, swap)
        watched = Watched(base, root, paths)
        do(world, names)
        watched.unharmed()
        do(world, ["hours"])
        if not swap and not any(place in ("dead", "") for place, _, _ in entries):
            assert world.remains() == []  # it does sweep
        do(world, ["look", "clean toy --force", "hours"])
        watched.unharmed()


@settings(QUICK, max_examples=45)
@given(entries=strangers, swap=swaps, began=st.booleans(), names=operations)
def test_no_command_and_no_node_touches_what_strangers_have_in_a_share(above, entries, swap, began, names):
    in_a_share(above, entries, swap, began, names)


@pytest.mark.long
@LONG
@given(entries=strangers, swap=swaps, began=st.booleans(), names=operations)
def test_thousands_of_shares_with_strangers_entries(above, entries, swap, began, names):
    in_a_share(above, entries, swap, began, names)


# ---- films
@pytest.fixture(scope="module")
def film_share(above, tmp_path_factory) -> Path:
    """A share with a film that is finished, and a job that is not begun; their video and style lie beside it."""
    (template := above / "films").mkdir()
    inputs = tmp_path_factory.mktemp("inputs")
    clip, style = films.make_clip(inputs / "clip.mp4", "32x32"), films.make_style(inputs / "tiny.safetensors")
    (template / "share").mkdir(mode=0o775)
    share = open_share(template / "share")
    for name, frames in (("made", 3), ("toy", 2)):  # the operations go to the job of that name
        films.create(share, clip, style, frames=frames, name=name, no_space_check=True)
    assert films.work(find_job(share, "made"))
    for path in (clip, style):
        shutil.copy(path, template)
    return template


IN_FILM = [
    at("job/results/frame/0000", ["0000000", "0000001.png~", ".0000001.png.swp", "notes"], st.one_of(leaves, full)),
    at("job/results/flow", ["run1.dat", "notes", "0000~"], st.one_of(leaves, full)),
    at("job/results/flow/0000", ["notes.txt", "0000001"], st.one_of(leaves, full)),
    at("job/results/stitch/0000", ["old.mp4", "notes"], st.one_of(leaves, full)),
    at("job/inputs", ["notes.txt", "style~"], st.one_of(leaves, full)),
    at("", ["toy-2.mp4", "made-2.mp4", "notes"], st.one_of(leaves, full)),
]  # fmt: skip
film_strategy = dict(
    entries=st.lists(st.one_of(*IN_FILM, *IN_ROOMS), min_size=6, max_size=20, unique_by=lambda entry: entry[:2]),
    swap=st.one_of(st.none(), st.tuples(st.sampled_from([*SWAPPED, "job/results/frame", "job/results/flow"]), links)),
    first=st.booleans(), names=st.lists(st.sampled_from([*STEPS, *COMMANDS, "stitch made", "retry made",
                                                         "clean made --force"]), max_size=4))  # fmt: skip


def in_a_share_with_films(
    above: Path, template: Path, entries: list, swap: tuple | None, first: bool, names: list[str]
) -> None:
    """As `in_a_share`, with jobs of films. `first`: what strangers have is in the job that is finished."""
    with scratch(above) as base:
        shutil.copytree(template, base, symlinks=True, dirs_exist_ok=True)
        root = base / "share"
        world = Films(root)
        share = world.open()
        job, dead = find_job(share, "made" if first else "toy"), world.die()
        paths = put(root, job, dead, entries, swap)
        watched = Watched(base, root, paths)
        world.look()
        do(world, names)
        watched.unharmed()
        do(world, ["work", "hours", "look", "clean toy --force", "clean made --force", "hours", "look"])
        watched.unharmed()


@settings(QUICK, max_examples=3)
@given(**film_strategy)
def test_no_command_and_no_node_touches_what_strangers_have_beside_films(
    above, film_share, entries, swap, first, names
):
    in_a_share_with_films(above, film_share, entries, swap, first, names)


@pytest.mark.long
@settings(LONG, max_examples=1000)
@given(**film_strategy)
def test_a_thousand_shares_with_films_and_strangers_entries(above, film_share, entries, swap, first, names):
    in_a_share_with_films(above, film_share, entries, swap, first, names)


# ---- before it is a share
old_names = st.sampled_from(
    [holding(("film", directory(**{"job.json": file(manifest("film"))}))), holding(("film", NO_NAMES[1])), directory()]
)


def rooms_of_others(what: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries({}, optional={name: old_names if name == "by-name" else what for name in NAMES})


empty_rooms = st.just({room: directory(0o700) for room in ROOMS})
NO_MARKER = [
    file(b""),
    file(b"{}"),
    file(b"[" * 10_000),
    file(b"\xff\0"),
    file(b'{"version": 1e400}'),
    directory(),
    link(f"HOME/{MARKER}"),
    link(MARKER),
    FIFO,
]
before_strategy = dict(ours=st.one_of(st.just({}), rooms_of_others(things), rooms_of_others(dirs(leaves)), empty_rooms),
                       others=st.dictionaries(words, things, max_size=3),
                       marked=st.one_of(st.just(None), st.just("ours"), st.sampled_from(NO_MARKER)),
                       names=operations)  # fmt: skip


@pytest.fixture(scope="module")
def marker(above) -> bytes | None:
    """What lies in the marker of a share."""
    (root := above / "a share").mkdir()
    open_share(root)
    return (root / MARKER).read_bytes() if (root / MARKER).exists() else None


def before_a_share(
    above: Path, marker: bytes | None, ours: dict, others: dict, marked: str | Thing | None, names: list[str]
) -> None:
    tree = {name: thing for name, thing in {**others, **ours}.items() if name != MARKER}
    if marked == "ours" and marker:
        tree[MARKER] = file(marker)
    elif isinstance(marked, Thing):
        tree[MARKER] = marked
    with scratch(above) as base:
        (base / "home" / MARKER).write_bytes(marker or b"{}")
        (root := base / "share").mkdir(mode=0o777)
        paths = [lay(thing, root / name, base / "home") for name, thing in tree.items()]
        taken = [path for path in paths if path.name in NAMES and path.is_dir() and not path.is_symlink()]
        os.utime(root, ns=(10**18, 10**18))
        watched, before = Watched(base, root, paths, untimed={*taken}), look(root)
        world = World(root)
        world.look()
        refused = None
        try:
            world.open()
        except JobQueueError as error:
            refused = str(error)
        expected = is_to_be_refused(tree, marked == "ours" and marker is not None)
        if expected is not None:
            assert (refused is not None) == expected, refused or "expected a refusal: names of ours are there"
        if refused:
            changed = differences(before, look(root))
            assert not changed, "\n".join([f"refused ({refused}), and yet", *changed])
            assert len(refused.splitlines()) == 1, refused
        watched_again(watched, taken, bool(refused))
        do(world, names)
        watched_again(watched, taken, bool(refused))
        do(world, ["hours", "create", "hours", "look"])
        watched_again(watched, taken, bool(refused))


def watched_again(watched: Watched, taken: list[Path], refused: bool) -> None:
    """As `unharmed`; in directories of strangers that have become our rooms, new entries are ours."""
    changed = watched.changes()
    made = [] if refused else [f"new: {path}{os.sep}" for path in taken]
    changed = [line for line in changed if not any(line.startswith(prefix) for prefix in made)]
    assert not changed, "\n".join(["of what the program did not make:", *changed])


def is_to_be_refused(tree: dict[str, Thing], marked: bool) -> bool | None:
    """Whether a directory is refused as a new share; None where that is not for this test to say."""
    there = [name for name in tree if name in NAMES]
    if not there:
        return False
    if any(tree[name].kind != "directory" for name in there if name in (*ROOMS, "control")):
        return True
    if marked:
        return False
    if MARKER in there:
        return True if there == [MARKER] else None
    if {*ROOMS} <= {*there} and not any(tree[room].inside for room in ROOMS):
        return None if "control" in there else False
    return None if "by-name" in there and manifest_reads(tree["by-name"]) else True


def manifest_reads(names: Thing) -> bool:
    return any(inner.of("job.json") == file(manifest(name)) for name, inner in names.inside)


@QUICK
@given(**before_strategy)
def test_directory_of_strangers_is_refused_or_becomes_a_share_and_keeps_all_they_have(
    above, marker, ours, others, marked, names
):
    before_a_share(above, marker, ours, others, marked, names)


@pytest.mark.long
@LONG
@given(**before_strategy)
def test_thousands_of_directories_of_strangers(above, marker, ours, others, marked, names):
    before_a_share(above, marker, ours, others, marked, names)
