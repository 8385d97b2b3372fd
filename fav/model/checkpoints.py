"""Style files: the project's safetensors, the PyTorch port's state dicts, Torch7 checkpoints, published image models.

The keys of a safetensors file and of the port's `.pth` are those of StyleNetwork itself; those of other state dicts are told
by `fav.model.published`.
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeGuard

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from fav.errors import FavError
from fav.model import torch7
from fav.model.network import TANH_CONSTANT, StyleNetwork
from fav.model.published import described, published_model, without_wrapper
from fav.util.atomic import new_file, own_file
from fav.util.reading import opened, read_file

KINDS = {3: "an image model (3 channels)", 7: "a video model (7 channels)"}
MARK = "training"  # in the metadata of a style: which training wrote it
MAX_BYTES = torch7.MAX_BYTES
HEAD = 9  # bytes of a file that tell its format
_KEYS = "expected the weights of a style network (1.weight, 10.0.0.0.weight, ...)"
_STATE_DICT = "expected a state dict, saved with torch.save(model.state_dict(), ...)"
FORMATS = "a style as .safetensors, a PyTorch state dict (.pth), a Torch7 checkpoint (.t7) or an image model (.onnx)"
WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "transformer", "generator", "params_ema", "params")


@dataclass(frozen=True)
class StyleFacts:
    """What a style file says of itself. `format` is safetensors, pytorch or torch7."""

    arch: str
    in_channels: int
    tanh_constant: float
    format: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class _Contents:
    """A style file as read: arch is None where the file does not tell it."""

    format: str
    state: dict[str, Tensor]
    arch: str | None = None
    tanh_constant: float = TANH_CONSTANT
    metadata: dict[str, str] = field(default_factory=dict)


def load_style(path: Path, in_channels: int | None = None) -> StyleNetwork:
    """The network of a style file, float32, ready for inference (`train().requires_grad_()` to go on learning).

    The format is told by the content, not by the name. in_channels, where given, is what is wanted:
    3 for an image model, 7 for a video model. Nothing that is stored in the file is executed, and
    memory is bounded by its size. Raises FavError for what is not a style, is damaged, holds code,
    or does not fit its architecture or in_channels.
    """
    return _load(path, in_channels)[0]


MEMORYLESS = (
    "it has no memory, so each frame of a film would be painted alone and flicker. Give it with --first-frame-style, or say "
    "--no-temporal; or make it steady: fav train --steady {name} PHOTOS_DIR OUT.safetensors"
)


def style_facts(path: Path) -> StyleFacts:
    """Architecture, kind and metadata of a style file, which is read and checked as by load_style."""
    network, contents = _load(path)
    return StyleFacts(network.arch, network.in_channels, network.tanh_constant, contents.format, contents.metadata)


def save_style(
    network: StyleNetwork,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
    mark: str | None = None,
) -> Path:
    """Writes a style as safetensors, whole or not at all; the architecture is added to `metadata`. Where it lies.

    dtype is float16 or float32. `mark` is put in, and an earlier file with that mark replaced; None: nothing is replaced.
    Raises FavError where the weights do not fit into it, or the name is taken.
    """
    state = {key: value.detach().cpu().to(dtype).contiguous() for key, value in network.state_dict().items()}
    for key, value in state.items():
        if not value.isfinite().all():
            raise FavError(f"{path}: weights {key}: expected finite values, got some that {dtype} cannot hold")
    facts = {
        "arch": network.arch,
        "in_channels": str(network.in_channels),
        "tanh_constant": f"{network.tanh_constant:g}",
        "padding": "reflect-start" if network.padding else "as in arch",
        **({MARK: mark} if mark else {}),
    }
    with own_file(path, mark) if mark else new_file(path) as draft:
        draft.file.write_bytes(safetensors.torch.save(state, {**(metadata or {}), **facts}))
    return draft.out


def convert(source: Path, target: Path, layout: str | None = None) -> Path:
    """Any style file as our safetensors, without loss: float16 where the weights are float16 numbers. Where it lies.

    layout: a name of `fav.model.published`, where the weights of the file fit several.
    """
    network, contents = _load(source, layout=layout)
    small = all(torch.equal(value.half().float(), value) for value in network.state_dict().values())
    metadata = {key: value for key, value in contents.metadata.items() if key != MARK}  # it is no file of that training
    return save_style(network, target, metadata, torch.float16 if small else torch.float32)


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """The architecture string of a state dict with StyleNetwork's keys, which do not tell strides.

    As in all of the authors' strings, 3x3 convolutions before the residual blocks halve the picture;
    upsamplings are by 2, and where there is none, the 3x3 convolutions after the blocks double it.
    Raises FavError where the keys are of another layout.
    """
    layers: dict[int, Tensor] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(\d{1,3})(\.0\.0\.[0134])?\.(weight|bias)", key)
        if match is None:
            raise FavError(f"{_KEYS}, got {key[:80]!r}")
        if match[3] == "weight" and match[2] in (None, ".0.0.0"):
            layers[int(match[1])] = value
    blocks = [number for number in layers if f"{number}.0.0.0.weight" in state]
    convolutions = [number for number, weight in layers.items() if weight.ndim == 4 and number not in blocks]
    upsamplings = [number for number, weight in layers.items() if weight.ndim == 1 and number - 1 not in convolutions]
    entries = {number - 1: "U2" for number in upsamplings}
    for number in (*blocks, *convolutions):
        bias = state.get(f"{number}.0.0.0.bias" if number in blocks else f"{number}.bias")
        if bias is None:
            raise FavError(f"layer {number}: expected a bias beside its weight, got none")
        channels, kernel = len(bias), layers[number].shape[-1]
        if number in blocks:
            entries[number] = f"R{channels}"
        elif kernel != 3 or upsamplings and number > min(blocks, default=-1):
            entries[number] = f"c{kernel}s1-{channels}"
        else:
            entries[number] = f"d{channels}" if number < min(blocks, default=-1) else f"u{channels}"
    return ",".join(entries[number] for number in sorted(entries))


def _load(path: Path, in_channels: int | None = None, layout: str | None = None) -> tuple[StyleNetwork, _Contents]:
    with unexpected_as_fav_error(path):
        contents = _read(path, layout)
        try:
            network = _assemble(contents, path.stat().st_size)
        except FavError as error:
            raise FavError(f"{path}: {error}") from error
    if network.in_channels not in KINDS or in_channels not in (None, network.in_channels):
        wanted = KINDS.get(in_channels or 0) or " or ".join(KINDS.values())
        got = KINDS.get(network.in_channels, f"a model of {network.in_channels} channels")
        if origin := contents.metadata.get("origin"):
            got += f" of {origin}"
        cure = f": {MEMORYLESS.format(name=path)}" if (in_channels, network.in_channels) == (7, 3) else ""
        raise FavError(f"{path}: expected {wanted}, got {got}{cure}")
    return network, contents


def _read(path: Path, layout: str | None = None) -> _Contents:
    try:
        with opened(path, str(path)) as file:
            size = os.fstat(file.fileno()).st_size
            kind = format_of(file.read(HEAD))
    except OSError as error:
        raise FavError(f"{path}: cannot be read: {error.strerror}; expected {FORMATS}") from error
    if not 0 < size <= MAX_BYTES:
        raise FavError(f"{path}: expected {FORMATS} of at most 1 GiB, got {size} bytes")
    if kind == "torch7":
        root = torch7.load(path)
        try:
            arch, tanh_constant, state = torch7.style_model(root)
        except FavError as error:
            raise FavError(f"{path}: {error}") from error
        return _Contents("torch7", state, arch, tanh_constant)
    if kind == "safetensors":
        state, metadata = read_safetensors(path)
        return _style_of(state, metadata, path) if "arch" in metadata else _state_dict(state, path, kind, layout)
    if kind == "pytorch":
        return _state_dict(read_pickle(path), path, kind, layout)
    if kind == "onnx":
        raise FavError(f"{path}: expected weights, got an ONNX image model: {MEMORYLESS.format(name=path)}")
    raise FavError(f"{path}: not a model: expected {FORMATS}")


def _state_dict(state: dict[str, Tensor], path: Path, kind: str, layout: str | None) -> _Contents:
    """A state dict of this program or of a published image model, alone or in a checkpoint."""
    for _ in range(2):  # some wrap twice
        inner = [value for key in WRAPPINGS if isinstance(value := state.get(key), dict)]
        state = without_wrapper(inner[0] if inner else state)
    _check_claim(state, path)
    try:
        model = published_model(state, layout)
    except FavError as error:
        raise FavError(f"{path}: {error}") from error
    if model is None:
        if known := described(state):
            raise FavError(f"{path}: {_KEYS}, got {known}")
        return _Contents(kind, state)
    metadata = {"origin": model.words, "layout": model.layout, "values": model.values}
    return _Contents(kind, model.state, model.arch, model.tanh_constant, metadata)


def _check_claim(state: Mapping[str, object], path: Path) -> None:
    """FavError where tensors would take more memory than their file does."""
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    claimed, size = sum(value.numel() * value.element_size() for value in tensors), path.stat().st_size
    if claimed > size:
        raise FavError(f"{path}: expected at most its own {size} bytes, got weights of {claimed}")


def format_of(head: bytes) -> str | None:
    """By the first HEAD bytes of a file of tensors: torch7, safetensors, onnx, pytorch (a pickle); None for any other."""
    if head[:4] in (b"\x03\0\0\0", b"\x04\0\0\0") and head[4:8] == b"\x01\0\0\0":
        return "torch7"
    if head[8:] == b"{":
        return "safetensors"
    if is_onnx(head):
        return "onnx"
    return "pytorch" if head[:1] == b"\x80" or head[:2] == b"PK" else None


def is_onnx(head: bytes) -> bool:
    """Whether a file begins as ONNX does: the field of its version, a small number, and another field of a model."""
    fields = {8 * number + 2 for number in (2, 3, 4, 6, 7, 8, 14)} | {8 * 5}
    return len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in fields


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by their names, and its metadata. Raises FavError where it is damaged."""
    data = path.read_bytes()  # the library opens no path that is not UTF-8
    try:
        state = safetensors.torch.load(data)
        return state, dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {})
    except SafetensorError as error:
        raise FavError(f"{path}: damaged safetensors (truncated?): {str(error)[:200]!r}") from error


def _style_of(state: dict[str, Tensor], metadata: dict[str, str], path: Path) -> _Contents:
    constant = metadata.get("tanh_constant", f"{TANH_CONSTANT}")
    try:
        return _Contents("safetensors", state, metadata.get("arch"), float(constant), metadata)
    except ValueError:
        raise FavError(f"{path}: tanh_constant: expected a number, got {constant[:40]!r}") from None


def read_pickle(path: Path) -> dict[str, Tensor]:
    """A PyTorch state dict by its keys; nothing in it is executed. Raises FavError for what is damaged or holds objects."""
    data = read_file(path, str(path), MAX_BYTES)
    try:
        if data[:2] == b"PK":
            records = zipfile.ZipFile(io.BytesIO(data)).infolist()
            if any("/code/" in record.filename for record in records):
                raise FavError(f"{path}: TorchScript holds code, which is not run: {_STATE_DICT}, or export it as ONNX")
            claimed = sum(record.file_size for record in records)
            if claimed > len(data):
                raise FavError(f"{path}: expected at most its own {len(data)} bytes, got records of {claimed}")
        root = _bare(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except FavError:
        raise
    except UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise FavError(
                f"{path}: refused, as it holds code or objects beside weights ({code[1]}): {_STATE_DICT}"
            ) from error
        raise FavError(f"{path}: damaged (truncated?), or a pickle of something else: {_STATE_DICT}") from error
    except Exception as error:  # torch.load has no list of what it raises over damaged bytes
        raise FavError(f"{path}: damaged (truncated?): {_STATE_DICT}, got {type(error).__name__}") from error
    if isinstance(root, dict) and isinstance(root.get("state_dict"), dict):
        root = root["state_dict"]
    if not isinstance(root, dict) or not root:
        raise FavError(f"{path}: expected a state dict, got {type(root).__name__}")
    return {str(key).removeprefix("module."): value for key, value in root.items()}


def _bare(value: object) -> object:
    """What was unpickled, with dicts, lists, tuples and tensors alone in the place of their kinds: what PyTorch lets through may
    have attributes of its own, of which one called `items` or `isfinite` would stand in the method's place."""
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in dict.items(value)}
    if isinstance(value, list | tuple):
        return [_bare(one) for one in value] if isinstance(value, list) else tuple(map(_bare, value))
    return Tensor.detach(value) if isinstance(value, Tensor) else value


@contextmanager
def unexpected_as_fav_error(path: Path | str) -> Iterator[None]:
    """FavError for whatever else is raised over a file of weights: PyTorch has no list of that."""
    try:
        yield
    except (FavError, OSError):
        raise
    except Exception as error:
        raise FavError(
            f"{path}: damaged, or not what it seems: expected weights, got {type(error).__name__} ({error})"
        ) from error


def is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor of floating-point numbers that lie in memory as they are."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
        and not value.is_nested
    )


def _assemble(contents: _Contents, size: int) -> StyleNetwork:
    """The network of what was read from a file of `size` bytes."""
    state = dict(contents.state)
    for key, value in state.items():
        if not is_dense(value):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise FavError(f"weights {key[:80]}: expected floating-point numbers, got {kind}")
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > size:
        raise FavError(f"expected at most its own {size} bytes, got weights of {claimed}")
    if not 0 < contents.tanh_constant < 1e4:
        raise FavError(f"tanh_constant: expected a number between 0 and 10000, got {contents.tanh_constant:g}")
    arch = contents.arch or architecture_of(state)
    first = next((key for key in ("0.weight", "1.weight", "2.weight") if key in state and state[key].ndim == 4), None)
    if first is None:
        raise FavError(f"{_KEYS}, got {', '.join([*state][:3])[:80] or 'none'}")
    with torch.device("meta"):  # nothing is allocated for an architecture that the weights do not fit
        network = StyleNetwork(arch, state[first].shape[1], contents.tanh_constant)
    expected = network.state_dict()
    for key in [*expected, *state]:
        wanted = tuple(expected[key].shape) if key in expected else "no such weights"
        got = tuple(state[key].shape) if key in state else "none"
        if wanted != got:
            raise FavError(f"layer {key[:80]}: architecture {arch} expects {wanted}, got {got}")
        state[key] = state[key].float().contiguous()
        if not state[key].isfinite().all():
            raise FavError(f"layer {key}: expected finite weights, got some that are not")
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()
