"""A chain of frames that are stylized one after the other, and how one chunk of a long shot passes over into the next; pure.

A chunk begins with a lead-in: the last CROSSFADE frames of the chunk before it, painted from nothing. So both chunks have
pictures of these frames, and the film shows a mixture of the two in which the share of the later one grows from frame to
frame. No chunk waits for another. (benchmarks/README.md compares this with other ways.)
"""

from dataclasses import dataclass

MIN_CHUNKS = 3  # chunks: a shorter shot is not done much sooner in chunks than as a whole beside others


@dataclass
class FrameChain:
    """Frames `[start, stop)` that are stylized one after the other, each from the one before.

    A shot or a chunk of one, or the part of it that is known so far; with `reverse` from the last to the first. `is_final`
    says that its end is known. Positions count from the beginning of the lead-in, `warmup` frames long, which lies outside
    `[start, stop)`; `done` counts the finished ones from there. The last `crossfade` frames pass over into the next chunk. The
    last `undecided` ones may turn out to be in a passage, or in another chunk, when more is known of the shot, so they wait.
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
        onward = position - self.warmup
        return self.stop - 1 - onward if self.reverse else self.start + onward

    def index_of(self, frame: int) -> int:
        return self.warmup + (self.stop - 1 - frame if self.reverse else frame - self.start)

    def predecessor(self, frame: int) -> int | None:
        """The frame whose stylized picture this one starts from, None for the first of the chain."""
        position = self.index_of(frame)
        return None if position == 0 else self.frame(position - 1)

    def is_warmup(self, position: int) -> bool:
        """Whether what is painted there belongs to the lead-in."""
        return position < self.warmup

    def crossfade_weight(self, frame: int) -> float:
        """The share of the next chunk's picture in what the film shows of a frame: growing evenly in the passage, else 0."""
        return max(0, self.index_of(frame) - len(self) + self.crossfade + 1) / (self.crossfade + 1)


def chunk_starts(length: int, chunk: int, after: int = 0) -> range:
    """Positions, counted from a shot's beginning and greater than `after`, at which chunks begin in a shot of this length.

    As a shot grows, none of them goes away. One of fewer than MIN_CHUNKS chunks stays whole, and the last chunk has half the
    length or more.
    """
    first = (after // chunk + 1) * chunk
    return range(first, length - chunk // 2 + 1, chunk) if length >= MIN_CHUNKS * chunk else range(0)
