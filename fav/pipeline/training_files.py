"""What a training delivers: the archive of a finished style, the best of several seeds, and its files in the share."""

import io
import itertools
import json
import logging
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fav.pipeline.delivery import link_or_copy
from fav.pipeline.training_job import BUNDLE_LIMIT, FILES, HEAD, MEASURES, TrainingJob, style_task
from fav.util.safe_path import resolve_inside
from shared import results
from shared.errors import JobQueueError, ResultVanishedError, sanitize
from shared.jobs import Job
from shared.membership import Node

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StyleBundle:
    """A finished style.

    Attributes:
        files: the contents of the files that are delivered, by the suffixes of FILES.
        measures: `verdict` in words, and `measures`: pairs of a value and its limit.
    """

    files: dict[str, bytes]
    measures: dict[str, Any]

    def to_bytes(self) -> bytes:
        """An archive. Equal styles have equal bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in {MEASURES: json.dumps(self.measures).encode(), **self.files}.items():
                member = tarfile.TarInfo(f"style{name}" if name in FILES else name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "StyleBundle":
        """Raises ValueError, KeyError or tarfile.TarError if a file is missing or damaged."""
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = {member.name: member for member in archive.getmembers() if member.isreg()}

            def content(name: str) -> bytes:
                file = archive.extractfile(members[name])
                if file is None:
                    raise ValueError(f"expected a file {name}")
                return file.read()

            measures = json.loads(content(MEASURES))
            if not isinstance(measures, dict):
                raise ValueError(f"expected values in {MEASURES}")
            return cls({suffix: content(f"style{suffix}") for suffix in FILES}, measures)


def bundle_of(job: Job, chain: int, node: Node | None = None) -> StyleBundle:
    """The finished style of a chain.

    Raises:
        ResultVanishedError: it is missing, or cannot be read; `node` quarantines it then.
    """
    data = results.read(job, style_task(chain), BUNDLE_LIMIT)
    try:
        return StyleBundle.from_bytes(data)
    except (ValueError, KeyError, tarfile.TarError, EOFError) as error:
        if node is not None:
            results.quarantine_result(node, job, style_task(chain), data, BUNDLE_LIMIT)
        raise ResultVanishedError(f"{style_task(chain)}: it does not read back ({sanitize(error, 200)})") from None


def verdict_of(job: Job, chain: int) -> str | None:
    """The verdict on a finished style, from the first bytes of its archive; None if it cannot be read."""
    try:
        head, _ = results.read_head(job, style_task(chain), HEAD)
        size = tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "strict").size
        return sanitize(json.loads(head[tarfile.BLOCKSIZE : tarfile.BLOCKSIZE + size])["verdict"], 500)
    except (JobQueueError, tarfile.TarError, ValueError, KeyError, TypeError):
        return None


def badness(measures: Mapping[str, Any]) -> tuple[int, float]:
    """How bad a style is: first the number of measures above their limits, then the sum of values per limit."""
    ratios = [float(value) / float(limit) for value, limit in measures["measures"].values()]
    return sum(ratio >= 1 for ratio in ratios), sum(ratios)


def best_of(bundles: Mapping[int, StyleBundle]) -> int:
    """The chain with the best style, the first one of equals."""
    return min(bundles, key=lambda chain: (*badness(bundles[chain].measures), chain))


def deliver_styles(node: Node, job: Job, training: TrainingJob) -> list[Path]:
    """Give the files of the best style of each `out` their names in the shared directory, and return the styles.

    Nothing is ever replaced: if other files have taken the names meanwhile, a number is added to them.

    Raises:
        ResultVanishedError: a finished style is missing, or cannot be read.
    """
    delivered = []
    for out in training.outs:
        chains = [number for number, chain in enumerate(training.chains) if chain.out == out]
        bundles = {number: bundle_of(job, number, node) for number in chains}
        best = best_of(bundles)
        wanted = resolve_inside(job.share.layout.root, out)
        path = _deliver(node, wanted, bundles[best])
        if path != wanted:
            logger.warning("%s: another file has taken this name; the style is %s", wanted, path)
        delivered.append(path)
        others = f", the best of {len(chains)}" if len(chains) > 1 else ""
        verdict = bundles[best].measures.get("verdict", "?")
        logger.info("%s: %s%s; the style is %s", training.chains[best].label, path.name, others, verdict)
    return delivered


def _deliver(node: Node, wanted: Path, bundle: StyleBundle) -> Path:
    node.share.system.make_dirs(wanted.parent)
    for number in itertools.count(1):
        style = wanted if number == 1 else wanted.with_stem(f"{wanted.stem}-{number}")
        places = {style.with_suffix(suffix): data for suffix, data in bundle.files.items()}
        if all(_is_free_for(path, data) for path, data in places.items()):
            if all(_put(node, path, data) for path, data in places.items()):
                return style
    raise AssertionError("the numbers never end")


def _is_free_for(path: Path, data: bytes) -> bool:
    """Whether a name is free, or has this content already."""
    if not os.path.lexists(path):
        return True
    return not path.is_symlink() and path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _put(node: Node, path: Path, data: bytes) -> bool:
    """Write a file, unless the name is taken. Returns whether it has this content now."""
    draft = node.temp_path()
    node.share.system.write_new(draft, data)
    try:
        return link_or_copy(node, draft, path) or _is_free_for(path, data)
    finally:
        node.share.system.unlink(draft)


def taken_output(root: Path, outs: Sequence[str]) -> Path | None:
    """An existing file with a name that a training would deliver; None if all names are free."""
    for out in outs:
        style = resolve_inside(root, out)
        for suffix in FILES:
            if os.path.lexists(path := style.with_suffix(suffix)):
                return path
    return None
