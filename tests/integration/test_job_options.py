"""The schema of a job's options: all that is derived from it says the same, and records of before still read."""

import json
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import coordinator
from fav import flow
from fav.cli.options import JOB, options, request_of
from fav.cli.options_table import page
from fav.errors import FavError
from fav.model.preprocessing import FILLS
from fav.pipeline.option import KINDS, LAST_FRAME
from fav.pipeline.request import Request, differences
from fav.pipeline.resolve_options import with_chunk_length, with_cuts
from fav.pipeline.spec import FIELDS, FORMER, INPUT_FIELDS, OPTIONS, VALUE_FIELDS, JobSpec, form
from fav.pipeline.spec_fields import spec_fields
from fav.video import VideoInfo, probe
from fav.video.codecs import usual_crf
from shared.jobs import Manifest, all_jobs
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import create

# A manifest as it was written before the options had one schema.
MANIFEST = b"""{
 "id": "a.0123456789ab",
 "name": "a",
 "spec": {
  "strength": 0.5,
  "preserve_colors": false,
  "style_scale": 1.0,
  "fps": 25.0,
  "flow": "dis",
  "min_filter": 7,
  "fill": "vgg-mean",
  "backward": false,
  "independent": false,
  "chunk": 48,
  "crf": 18,
  "keep": false,
  "threads": 2,
  "strict": true,
  "video": "clip.mp4",
  "video_print": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
  "style": "jobs/a.0123456789ab/inputs/style.safetensors",
  "style_print": "1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e",
  "width": 320,
  "height": 180,
  "out": "films/a.mp4",
  "flow_weights": null,
  "flow_weights_print": null,
  "first_frame_style": null,
  "first_frame_style_print": null,
  "seed": null,
  "seed_print": null,
  "mask": "jobs/a.0123456789ab/inputs/mask.png",
  "mask_print": "2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d",
  "evaluate": null,
  "evaluate_print": null,
  "loss_network": null,
  "loss_network_print": null,
  "mix": ["jobs/a.0123456789ab/inputs/mix-1.safetensors"],
  "mix_prints": ["3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c"],
  "mix_weights": [0.25],
  "cuts": [14, 48],
  "start": 5,
  "stop": 60,
  "precision": "bfloat16"
 },
 "lease": 180.0,
 "version": 1,
 "sources": "abc123"
}
"""
RECORD = json.loads(MANIFEST)["spec"]
NOW = {FORMER.get(name, name): value for name, value in RECORD.items()}
# As the first jobs were written: without masks, mixtures, parts of shots, measurements and a choice of precision.
OLDEST = {
    "video": "clip.mp4",
    "video_print": "0f",
    "style": "jobs/a/inputs/style.pth",
    "style_print": "1e",
    "width": 320,
    "height": 180,
    "out": "a.mp4",
    "flow": "dis",
    "cuts": None,
    "start": 0,
    "stop": None,
    "fps": 25,
    "min_filter": 7,
    "fill": "vgg-mean",
    "backward": False,
    "independent": False,
    "crf": 20,
    "keep": False,
    "threads": None,
}


@pytest.fixture(scope="module")
def source(clip) -> VideoInfo:
    return probe(clip)


def typed(clip: Path | str, style: Path, words: list) -> Request:
    """The request of a command line; ClickException or FavError where it is refused."""
    found = []

    @click.command()
    @options(JOB)
    @click.pass_context
    def command(context, **values):
        found.append(request_of(context, str(clip), style, values))

    command.main([str(word) for word in words], standalone_mode=False)
    found[0].check()
    return with_cuts(found[0])[0]


def record_of(request: Request, source: VideoInfo) -> JobSpec:
    """The record of the job that a request makes, with other places for its inputs."""
    request, _ = with_chunk_length(request, source)
    places = {name: f"jobs/a/inputs/{name}" for name in INPUT_FIELDS if getattr(request, name) is not None}
    mix = tuple(f"jobs/a/inputs/mix-{number}" for number, _ in enumerate(request.mix, 1))
    return JobSpec(
        **{**spec_fields(request, source), **places, "video": "a.mp4", "mix": mix, "out": request.out or "a.mp4"}
    )


def through_json(spec: JobSpec) -> JobSpec:
    """The record as a node reads it from the manifest; FavError where it refuses it."""
    manifest = Manifest("a.0123456789ab", "a", spec.to_json(), 180.0)
    return JobSpec.from_json(Manifest.from_bytes(manifest.to_bytes(), Path("job.json")).spec)


# ---- one schema
def test_options_of_the_command_line_are_those_of_the_schema():
    for name in "submit", "run":
        found = {param.name: param for param in coordinator.main.commands[name].params}
        assert [name for name in found if name in OPTIONS] == list(OPTIONS)
        for option in OPTIONS.values():
            param = found[option.name]
            assert param.opts == [option.flag] and param.default == option.default and option.text in param.help
            assert (
                option.kind == KINDS["flag"]
                or option.least is None
                or param.type.name in ("frames", "integer", "number", "curve")
            )


def test_former_names_of_options_still_work_and_are_in_no_help(clip, style):
    renamed = [option for option in OPTIONS.values() if option.former]
    assert len(renamed) == 9 and not {option.former for option in renamed} & set(OPTIONS)
    values = {"whole": "3", "file": style, "text": "uniform-random"}
    for option in renamed:
        value = next((values[kind] for kind in values if KINDS[kind] == option.kind), None)
        then, now = (
            typed(clip, style, [flag, *([] if value is None else [value])])
            for flag in (option.former_flag, option.flag)
        )
        assert then == now and now.given == {option.name} and getattr(now, option.name) != option.default
    for command in coordinator.main.commands.values():
        text = command.get_help(click.Context(command))
        former = {former for param in command.params for former in getattr(param, "former", ())}
        assert not [flag for flag in former if f" {flag} " in text]


def test_what_the_schema_says_of_its_fields_holds():
    assert OPTIONS["flow"].allowed_values == tuple(flow.METHODS) and OPTIONS["occlusion_fill"].allowed_values == FILLS
    assert {name for option in OPTIONS.values() for name in option.records} <= set(FIELDS)
    assert {"video", *INPUT_FIELDS} == {name.removesuffix("_hash") for name in FIELDS if name.endswith("_hash")}
    assert {option.changes for option in OPTIONS.values()} == {"the frames", "only the output", "only the scheduling"}
    stitched = {name for name, option in OPTIONS.items() if option.output_only}
    assert {"strength", "preserve_colors", "mask", "codec", "pixel_format", "preset", "crf"} <= stitched
    assert not stitched & {"flow", "out", "evaluate"}


def test_committed_page_of_the_options_is_up_to_date():
    assert (ROOT / "docs" / "reference" / "job-options.md").read_text() == page()
    assert r"| `--chunk` | `auto\|N\|off`: a whole number from 8 to 999999 | off | the frames | Long shots" in page()
    assert (
        "| `--crf` | a whole number from 0 to 63 | 18; 20 for hevc, 24 for av1 and vp9 | only the output | Quality"
        in page()
    )


def test_form_has_a_field_for_each_option():
    fields = {field["name"]: field for field in json.loads(json.dumps(form()))}
    assert list(fields) == list(OPTIONS) and all(field["help"] and field["changes"] for field in fields.values())
    crf = {
        "type": "a whole number",
        "default": None,
        "least": 0,
        "most": 63,
        "choices": [],
        "changes": "only the output",
    }
    assert crf.items() <= fields["crf"].items()
    assert fields["occlusion_fill"]["choices"] == ["vgg-mean", "uniform-random"] and fields["fps"]["unset"] == "25"


# ---- what the command line accepts, a node accepts
def numbers(least: float, most: float, whole: bool) -> st.SearchStrategy:
    """Numbers in a range and at its ends, a few just outside, and some of any kind."""
    edges = [least, most, least - 1, most + 1]
    if whole:
        return st.integers(int(least), int(most)) | st.sampled_from(list(map(int, edges))) | st.integers()
    return st.floats(least, most) | st.sampled_from([*map(float, edges), least * 0.999, most * 1.001]) | st.floats()


def values(option, files: list) -> st.SearchStrategy:
    """Words that may be typed for an option, good ones mostly."""
    if option.name == "chunk":
        return st.sampled_from(["auto", "off"]) | numbers(option.least, option.most, True)
    if option.name == "range":
        ends = st.just("") | st.integers(-2, 30) | st.sampled_from([LAST_FRAME, LAST_FRAME + 1, LAST_FRAME + 2])
        return st.tuples(ends, ends).map(lambda pair: f"{pair[0]}:{pair[1]}")
    if option.name == "mix":
        curves = st.sampled_from([f"{files[0]}@0:1,10f:0", f"{files[0]}@0:.2,1:.9:hold", f"{files[0]}@0:1"])
        return numbers(0, 1, False).map(lambda weight: f"{files[0]}:{weight}") | curves
    if option.name == "read_cuts":
        return st.sampled_from(files[1:])
    if option.name == "out":
        return st.sampled_from(["a.mp4", "films/a film.mkv", "../a.mp4", "", "é.mov", "a\x1b.mp4"]) | st.text(
            max_size=9
        )
    if option.kind == KINDS["flag"]:
        return st.just(None)
    if option.allowed_values:
        return st.sampled_from([*option.allowed_values, "none of these"])
    if option.kind == KINDS["curve"]:
        return numbers(0, 1, False) | st.sampled_from(
            ["0:0,1:1", "0:0,24f:.5:ease", "0:1,0:1", "0:2,1:1", "a:b,c:d", "0:1"]
        )
    if option.least is not None:
        return numbers(option.least, option.most, option.kind == KINDS["whole"])
    return st.sampled_from(files[:1]) if option.kind == KINDS["file"] else st.just("a")


@settings(max_examples=300, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_what_the_command_line_accepts_a_node_accepts(clip, style, source, tmp_path_factory, data):
    place = tmp_path_factory.getbasetemp() / "cuts"
    place.mkdir(exist_ok=True)
    (place / "some.csv").write_text("frame\n3\n9\n")
    (place / "none.csv").write_text("# no cuts\n")
    files = [style, place / "some.csv", place / "none.csv"]
    names = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=6))
    chosen = {name: data.draw(values(OPTIONS[name], files), label=name) for name in names}
    words = [OPTIONS[name].flag if value is None else f"{OPTIONS[name].flag}={value}" for name, value in chosen.items()]
    try:
        request, _ = with_chunk_length(typed(clip, style, words), source)
        spec = record_of(request, source)
    except (click.ClickException, FavError):
        return
    read = through_json(spec)
    assert read == spec
    encoding = {"pixel_format", "preset", "crf"}  # what is usual is recorded as if nobody had typed it; `crf` always is
    assert all(getattr(read, name) == getattr(request, name) for name in set(VALUE_FIELDS) - encoding)
    assert read.crf == (usual_crf(read.codec) if request.crf is None else request.crf)
    assert read.preset in (None, request.preset)
    assert read.pixel_format in (None, (request.pixel_format or "").removesuffix("le"))
    assert read.mix_weights == tuple(weight for _, weight in request.mix) and request.precision in (
        "auto",
        read.precision,
    )
    assert request.width in (None, read.width) and request.out in (None, read.out)
    assert differences(read, spec, request) == {}
    assert 15 <= request.lease <= 86400


def accepted_at_reading(**change) -> bool:
    try:
        JobSpec.from_json(json.loads(json.dumps({**NOW, **change})))
    except FavError:
        return False
    return True


def accepted_when_typed(clip, style, *words) -> bool:
    try:
        typed(clip, style, list(words))
    except (click.ClickException, FavError):
        return False
    return True


NUMBERS = [name for name in VALUE_FIELDS if OPTIONS[name].least is not None]


@pytest.mark.parametrize("name", [*NUMBERS, "occlusion_fill"])
@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_a_value_is_accepted_at_both_ends_or_at_none(clip, style, name, data):
    option = OPTIONS[name]
    some = (
        st.sampled_from([*option.allowed_values, "other"])
        if option.allowed_values
        else st.one_of(
            numbers(option.least, option.most, option.kind == KINDS["whole"]),
            st.floats(),
            st.integers(),
            st.just(10**400),
        )
    )
    value = data.draw(some)
    words = [f"--mask={style}"] if name == "mask_strength" else []  # what it needs
    assert accepted_at_reading(**{name: value}) == accepted_when_typed(clip, style, f"{option.flag}={value}", *words)


@settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    start=st.integers(-2, 9) | st.sampled_from([LAST_FRAME, LAST_FRAME + 1]) | st.integers(),
    stop=st.none() | st.integers(-2, 9) | st.sampled_from([LAST_FRAME + 1, LAST_FRAME + 2]) | st.integers(),
)
@example(start=0, stop=0)
@example(start=LAST_FRAME, stop=LAST_FRAME + 1)
def test_a_range_is_accepted_at_both_ends_or_at_none(clip, style, start, stop):
    words = f"--range={start}:{'' if stop is None else stop}"
    assert accepted_at_reading(start=start, stop=stop) == accepted_when_typed(clip, style, words)


@settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
@given(weights=st.lists(st.floats(0, 1) | st.floats(), max_size=3))
def test_weights_are_accepted_at_both_ends_or_at_none(clip, style, weights):
    change = {"mix": ["a"] * len(weights), "mix_hashes": ["1"] * len(weights), "mix_weights": weights}
    words = [f"--mix={style}:{weight}" for weight in weights]
    assert accepted_at_reading(**change) == accepted_when_typed(clip, style, *words)


# ---- manifests
def test_a_manifest_of_before_reads_and_is_written_with_the_names_of_now():
    spec = JobSpec.from_json(Manifest.from_bytes(MANIFEST, Path("job.json")).spec)
    assert spec.mix_weights == (0.25,) and spec.cuts == (14, 48) and spec.stop == 60 and spec.threads == 2
    written = spec.to_json()
    assert {name: written[name] for name in NOW} == NOW
    assert (written["init_frame"], written["occlusion_erode"], written["bit_exact"]) == (None, 7, True)
    assert written["video_hash"] == RECORD["video_print"] and not set(FORMER) & set(written)
    added = written.keys() - {
        FORMER.get(name, name) for name in RECORD
    }  # options that are newer than the manifest have their defaults
    assert {name: written[name] for name in added} == {
        name: list(default) if isinstance(default := FIELDS[name].default, tuple) else default for name in added
    }


def test_a_field_under_both_its_names_is_refused():
    with pytest.raises(FavError, match="expected options that this version knows, got 'fill'"):
        JobSpec.from_json({**RECORD, "occlusion_fill": "vgg-mean"})


def test_a_job_of_now_is_written_with_the_same_fields(share, clip, style):
    create(share, clip, style)
    (job,) = all_jobs(share)
    assert set(job.manifest.spec) >= set(NOW)


def test_a_manifest_of_the_oldest_form_reads():
    spec = JobSpec.from_json(OLDEST)
    assert spec.crf == 20 and spec.fps == 25 and spec.cuts is None
    assert (spec.precision, spec.chunk, spec.strength, spec.mix, spec.mask) == ("float32", None, 1, (), None)


HUGE, MANY = 10**5000, "a number of too many digits"
AGAIN = "; update this machine, or make the job again"
CURVE = "expected strength to be a number from 0 to 1, or a curve such as 0:0,5:1"
LIST = "expected cuts to be a list of frame numbers from 0 to 999999999999, or nothing, got "


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"sparkle": 1}, "expected options that this version knows, got 'sparkle'; update this machine"),
        (
            {"sparkle": 1, "glitter\n": 2},
            r"expected options that this version knows, got 'glitter\n, sparkle'; update this machine",
        ),
        ({"width": 70000}, "expected width to be a whole number from 1 to 16384, got 70000" + AGAIN),
        ({"width": "320"}, "expected width to be a whole number from 1 to 16384, got '320'" + AGAIN),
        ({"width": "\ud800"}, r"expected width to be a whole number from 1 to 16384, got '\ud800'" + AGAIN),
        ({"width": 320.5}, "expected width to be a whole number from 1 to 16384, got 320.5" + AGAIN),
        ({"crf": -1}, "expected crf to be a whole number from 0 to 63, or nothing, got -1" + AGAIN),
        ({"strength": None}, f"{CURVE}, got None" + AGAIN),
        ({"out": "f_%d.png"}, "f_%d.png: expected images in a directory of their own, such as dir/f_%d.png"),
        ({"crf": True}, "expected crf to be a whole number from 0 to 63, or nothing, got True" + AGAIN),
        ({"min_filter": 8}, "expected occlusion_erode to be an odd whole number from 1 to 999, got 8" + AGAIN),
        ({"strength": float("nan")}, f"{CURVE}, got nan" + AGAIN),
        ({"strength": float("inf")}, f"{CURVE}, got inf" + AGAIN),
        ({"strength": "0:0,0:1"}, f"{CURVE}, got '0:0,0:1'" + AGAIN),
        ({"strength": "0:0,5s:1"}, f"{CURVE}, got '0:0,5s:1'" + AGAIN),
        ({"fps": HUGE}, f"expected fps to be a number from 0.001 to 1000, or nothing, got {MANY}" + AGAIN),
        ({"start": HUGE}, f"expected start to be a whole number from 0 to 999999999999, got {MANY}" + AGAIN),
        (
            {"stop": 2**64},
            f"expected stop to be a whole number from 1 to 1000000000000, or nothing, got {2**64}" + AGAIN,
        ),
        ({"cuts": [3, "x"]}, LIST + "[3, 'x']" + AGAIN),
        ({"cuts": [HUGE]}, LIST + MANY + AGAIN),
        ({"mix_weights": [[]]}, "expected mix_weights to be a list of numbers and curves, got [[]]" + AGAIN),
        ({"mix": None}, "expected mix to be a list of texts, got None" + AGAIN),
        ({"backward": "yes"}, "expected reverse to be true or false, got 'yes'" + AGAIN),
        ({"fill": "plaid"}, "expected occlusion_fill to be vgg-mean or uniform-random, got 'plaid'" + AGAIN),
        ({"fill": ["vgg-mean"]}, "expected occlusion_fill to be vgg-mean or uniform-random, got ['vgg-mean']" + AGAIN),
        ({"mask": 3}, "expected mask to be a text, or nothing, got 3" + AGAIN),
        ({"stop": 5}, "expected frames from 5 on, got none up to 5" + AGAIN),
        (
            {"mix_weights": []},
            "expected a weight and a hash for each of 1 further styles, got 0 and 1" + AGAIN,
        ),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_in_one_line_with_the_cure(change, complaint):
    with pytest.raises(FavError) as refusal:
        JobSpec.from_json({**RECORD, **change})
    assert str(refusal.value) == f"job: {complaint}"


@pytest.mark.parametrize(
    "record, complaint",
    [
        ({}, "got none for video, video_hash, style, style_hash, width, height, out; make the job again"),
        ([], r"got \[\]; update this machine"),
        (None, "got None; update this machine"),
        (7, "got 7; update this machine"),
    ],
)
def test_what_is_no_record_is_refused(record, complaint):
    with pytest.raises(FavError, match=f"job: expected the options of a job, {complaint}"):
        JobSpec.from_json(record)


# ---- which options differ, in the words that are typed
@pytest.mark.parametrize(
    "job, asked, words",
    [
        ("--width=96", "--width=320", "--width 96, not --width 320"),
        ("--width=96", "--scale=0.5", "96x64 pixels, not --scale 0.5 (48x32)"),
        ("", "--width=320", "--width 96, not --width 320"),
        ("--crf=20", "--crf=30", "--crf 20, not --crf 30"),
        ("", "--reverse", "no --reverse, not --reverse"),
        ("", "--fps=12.5", "no --fps, not --fps 12.5"),
        ("--style-scale=2", "--style-scale=0.3", "--style-scale 2, not --style-scale 0.3"),
        ("--chunk=48", "--chunk=off", "--chunk 48, not --chunk off"),
        ("--chunk=auto", "--chunk=48", "--chunk off, not --chunk 48"),  # a short film
        ("--chunk=48", "--chunk=auto", ""),
        ("", "--chunk=30", "--chunk off, not --chunk 30"),
        ("--strength=0", "--strength=1", "--strength 0, not --strength 1"),
        ("--crf=0", "--crf=1", "--crf 0, not --crf 1"),
        (
            "--occlusion-fill=uniform-random",
            "--occlusion-fill=vgg-mean",
            "--occlusion-fill uniform-random, not --occlusion-fill vgg-mean",
        ),
        ("--precision=bfloat16", "--precision=float32", "--precision bfloat16, not --precision float32"),
        ("--range=5:9", "--range=5:", "--range 5:9, not --range 5:"),
        ("", "--range=5:", "no --range, not --range 5:"),
        ("--frames=4", "--frames=3", "--frames 4, not --frames 3"),
        ("--range=5:9", "--frames=3", "--range 5:9, not --frames 3"),
        ("--range=5:9", "--range=5:9 --frames=3", "--range 5:9, not --range 5:9 --frames 3"),
        ("", "--no-cuts", "detected cuts, not --no-cuts"),
        ("--no-cuts", "--read-cuts=CUTS", "--no-cuts, not --read-cuts CUTS (3, 9)"),
        ("--read-cuts=CUTS", "--no-cuts", "--read-cuts (3, 9), not --no-cuts"),
        ("--mix=STYLE:0.25", "--mix=STYLE:0.5", "--mix STYLE:0.25, not --mix STYLE:0.5"),
        ("", "--mix=STYLE:0.5", "no --mix, not --mix STYLE:0.5"),
        ("--mix=CUTS:0.5", "--mix=STYLE:0.5", "--mix has another content"),
        ("", "--mask=STYLE", "no --mask, not --mask STYLE"),
        ("--mask=CUTS", "--mask=STYLE", "--mask has another content"),
        ("--out=a.mp4", "--out=b c.mp4", "--out a.mp4, not --out 'b c.mp4'"),
        ("", "--bit-exact --crf=18", "no --bit-exact, not --bit-exact"),
        ("--crf=20", "", ""),
        (
            "--crf=20 --width=96",
            "--crf=20 --scale=1 --threads=2 --keep-flow",
            "no --keep-flow, not --keep-flow; no --threads, not --threads 2",
        ),
    ],
)
def test_differences_are_named_as_they_are_typed(clip, style, source, tmp_path, monkeypatch, job, asked, words):
    monkeypatch.chdir(tmp_path)
    Path("STYLE").write_bytes(style.read_bytes())
    Path("CUTS").write_text("3\n9\n")
    split = lambda text: [f"--{word}" for word in text.split("--") if word]
    specs, request = [], None
    for line in job, asked:
        request, _ = with_chunk_length(typed(clip, style, [word.strip() for word in split(line)]), source)
        specs.append(record_of(request, source))
    found = differences(*specs, request)
    assert "; ".join(sorted(found.values())) == words
    assert differences(specs[1], specs[1], request) == {}
