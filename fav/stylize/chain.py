"""Chains of frames that are stylized one after the other, and the crossfade between chunks of a long shot; pure.

A chunk begins with a warmup: it also stylizes the last CROSSFADE frames of the chunk before it, without a previous
frame. So both chunks have these frames, and the film crossfades from the earlier chunk to the later one. No chunk waits
for another. (benchmarks/README.md compares this with other methods.)
"""

from dataclasses import dataclass

MIN_CHUNKS = 3  # a shot with fewer chunks is not split, because that would save little time


@dataclass
class FrameChain:
    """Frames `[start, stop)` that are stylized one after the other, each from the one before.

    A chain is a shot or a chunk, or its indexed part. Positions are counted from 0, at the beginning of the warmup.

    Attributes:
        start: the first frame, without the warmup.
        stop: one past the last frame.
        is_final: whether its end is known.
        reverse: stylize from the last frame to the first.
        done: number of finished positions.
        warmup: frames before the chunk, outside of `[start, stop)`, that are stylized first.
        crossfade: the last frames, which are crossfaded with the next chunk.
        undecided: the last frames, which must wait: a longer index may put them into a crossfade or another chunk.
    """

    start: int
    stop: int
    is_final: bool
    reverse: bool = False
    done: int = 0
    warmup: int = 0
    crossfade: int = 0
    undecided: int = 0

    def __len__(self) -> int:
        return self.warmup + self.stop - self.start

    @property
    def remaining(self) -> int:
        return len(self) - self.undecided - self.done

    def frame(self, position: int) -> int:
        """The frame number at a position of the chain, counted from 0."""
        offset = position - self.warmup
        return self.stop - 1 - offset if self.reverse else self.start + offset

    def index_of(self, frame: int) -> int:
        """The position of a frame in the chain."""
        return self.warmup + (self.stop - 1 - frame if self.reverse else frame - self.start)

    def predecessor(self, frame: int) -> int | None:
        """The frame before this one in the chain, None for the first."""
        position = self.index_of(frame)
        return None if position == 0 else self.frame(position - 1)

    def is_warmup(self, position: int) -> bool:
        """Whether a position belongs to the warmup."""
        return position < self.warmup

    def crossfade_weight(self, frame: int) -> float:
        """The weight of the next chunk's frame in the film: it grows linearly in the crossfade; elsewhere it is 0."""
        return max(0, self.index_of(frame) - len(self) + self.crossfade + 1) / (self.crossfade + 1)


def chunk_starts(length: int, chunk: int, after: int = 0) -> range:
    """Offsets from a shot's beginning at which chunks begin.

    A longer `length` never removes an offset. A shot of fewer than MIN_CHUNKS chunks is not split. The last chunk has
    at least half of `chunk` frames.

    Args:
        length: of the shot, in frames.
        chunk: length of a chunk, in frames.
        after: only offsets greater than this.
    """
    first = (after // chunk + 1) * chunk
    return range(first, length - chunk // 2 + 1, chunk) if length >= MIN_CHUNKS * chunk else range(0)
