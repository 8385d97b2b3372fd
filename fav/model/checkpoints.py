"""Read and write style files: safetensors, state dicts of the PyTorch port, Torch7 checkpoints, published image models.

Safetensors files and the port's `.pth` have the keys of StyleNetwork. `fav.model.published` converts other state dicts.
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
from fav.model.published import describe_unsupported, published_model, strip_wrapper_prefixes
from fav.util.atomic import new_file, own_file
from fav.util.reading import opened, read_file

KINDS = {3: "an image model (3 channels)", 7: "a video model (7 channels)"}
MARK = "training"  # key of the metadata for the mark of the training that wrote a style
MAX_BYTES = torch7.MAX_BYTES
HEAD = 9  # bytes at the beginning of a file that identify its format
_KEYS = "expected the weights of a style network (1.weight, 10.0.0.0.weight, ...)"
_STATE_DICT = "expected a state dict, saved with torch.save(model.state_dict(), ...)"
FORMATS = "a style as .safetensors, a PyTorch state dict (.pth), a Torch7 checkpoint (.t7) or an image model (.onnx)"
WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "transformer", "generator", "params_ema", "params")


@dataclass(frozen=True)
class StyleFacts:
    """The properties of a style file. `format` is safetensors, pytorch, torch7 or onnx."""

    arch: str
    in_channels: int
    tanh_constant: float
    format: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class _Contents:
    """The content of a style file. `arch` is None if it is not stored in the file."""

    format: str
    state: dict[str, Tensor]
    arch: str | None = None
    tanh_constant: float = TANH_CONSTANT
    metadata: dict[str, str] = field(default_factory=dict)


def load_style(path: Path, in_channels: int | None = None) -> StyleNetwork:
    """Load the network of a style file, in float32 and evaluation mode, without gradients.

    The format is detected from the content. No code in the file is executed, and memory is limited by the file's size.

    Args:
        path: The file.
        in_channels: The required kind: 3 for an image model, 7 for a video model; None: any.

    Raises:
        FavError: The file is not a style, is damaged, contains code, or is of the wrong kind.
    """
    return _load(path, in_channels)[0]


IMAGE_MODEL_HINT = (
    "it stylizes each frame independently, so a film would flicker. Give it with --first-frame-style, or use "
    "--no-temporal; or train a video style from it: fav train --steady {name} PHOTOS_DIR OUT.safetensors"
)


def style_facts(path: Path) -> StyleFacts:
    """Return the properties of a style file. Reads and checks it as `load_style` does."""
    network, contents = _load(path)
    return StyleFacts(network.arch, network.in_channels, network.tanh_constant, contents.format, contents.metadata)


def save_style(
    network: StyleNetwork,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
    mark: str | None = None,
) -> Path:
    """Write a style as safetensors, atomically.

    Args:
        network: The style.
        path: The file.
        metadata: Is stored, together with the architecture.
        dtype: float16 or float32.
        mark: Is stored; an earlier file with the same mark is replaced. None: no file is replaced.

    Returns:
        The path of the file. It may have a number added if the name was taken meanwhile.

    Raises:
        FavError: A weight is not finite in `dtype`, or the name is taken.
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
        draft.file.write_bytes(_with_sorted_metadata(safetensors.torch.save(state, {**(metadata or {}), **facts})))
    return draft.out


def _with_sorted_metadata(data: bytes) -> bytes:
    """The same safetensors file with its metadata sorted: the library shuffles them, and equal styles have equal bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors are aligned
    return len(text).to_bytes(8, "little") + text + data[start:]


def convert(source: Path, target: Path, layout: str | None = None) -> Path:
    """Convert a style file to safetensors, without loss: to float16 if all weights are float16 numbers.

    Args:
        source: The style file.
        target: The new file.
        layout: A name of `fav.model.published`, if the weights fit several layouts.

    Returns:
        The path of the new file, as in `save_style`.
    """
    network, contents = _load(source, layout=layout)
    fits_float16 = all(torch.equal(value.half().float(), value) for value in network.state_dict().values())
    metadata = {key: value for key, value in contents.metadata.items() if key != MARK}  # the training did not write it
    return save_style(network, target, metadata, torch.float16 if fits_float16 else torch.float32)


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """Return the architecture string of a state dict with the keys of StyleNetwork.

    The keys do not contain strides. As in all of the authors' strings, 3x3 convolutions before the residual blocks have
    stride 2, and upsamplings are by 2. Without upsamplings, the 3x3 convolutions after the blocks are transposed.

    Raises:
        FavError: The keys are of another layout.
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
            raise FavError(f"layer {number}: expected a weight and a bias, got no bias")
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
        cure = f": {IMAGE_MODEL_HINT.format(name=path)}" if (in_channels, network.in_channels) == (7, 3) else ""
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
        return _from_safetensors(state, metadata, path) if "arch" in metadata else _from_dict(state, path, kind, layout)
    if kind == "pytorch":
        return _from_dict(read_pickle(path), path, kind, layout)
    if kind == "onnx":
        raise FavError(f"{path}: expected weights, got an ONNX image model: {IMAGE_MODEL_HINT.format(name=path)}")
    raise FavError(f"{path}: not a model: expected {FORMATS}")


def _from_dict(state: dict[str, Tensor], path: Path, kind: str, layout: str | None) -> _Contents:
    """Read a state dict of this program or of a published image model, which may be nested in a checkpoint."""
    for _ in range(2):  # some checkpoints nest it twice
        inner = [value for key in WRAPPINGS if isinstance(value := state.get(key), dict)]
        state = strip_wrapper_prefixes(inner[0] if inner else state)
    _check_size(state, path)
    try:
        model = published_model(state, layout)
    except FavError as error:
        raise FavError(f"{path}: {error}") from error
    if model is None:
        if known := describe_unsupported(state):
            raise FavError(f"{path}: {_KEYS}, got {known}")
        return _Contents(kind, state)
    metadata = {"origin": model.description, "layout": model.layout, "values": model.values}
    return _Contents(kind, model.state, model.arch, model.tanh_constant, metadata)


def _check_size(state: Mapping[str, object], path: Path) -> None:
    """Raise FavError if the tensors need more memory than the file has bytes."""
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    needed, size = sum(value.numel() * value.element_size() for value in tensors), path.stat().st_size
    if needed > size:
        raise FavError(f"{path}: expected weights of at most {size} bytes, the size of the file, got {needed}")


def format_of(head: bytes) -> str | None:
    """Detect the format of a file of tensors from its first HEAD bytes.

    Returns:
        torch7, safetensors, onnx or pytorch (a pickle); None for other formats.
    """
    if head[:4] in (b"\x03\0\0\0", b"\x04\0\0\0") and head[4:8] == b"\x01\0\0\0":
        return "torch7"
    if head[8:] == b"{":
        return "safetensors"
    if is_onnx(head):
        return "onnx"
    return "pytorch" if head[:1] == b"\x80" or head[:2] == b"PK" else None


def is_onnx(head: bytes) -> bool:
    """Whether a file begins like ONNX: the version field, a small number, and another field of a model."""
    fields = {8 * number + 2 for number in (2, 3, 4, 6, 7, 8, 14)} | {8 * 5}
    return len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in fields


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a safetensors file by name, and its metadata. Raises FavError if it is damaged."""
    data = path.read_bytes()  # the library accepts only UTF-8 paths
    try:
        state = safetensors.torch.load(data)
        return state, dict(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {})
    except SafetensorError as error:
        raise FavError(f"{path}: damaged safetensors (truncated?): {str(error)[:200]!r}") from error


def _from_safetensors(state: dict[str, Tensor], metadata: dict[str, str], path: Path) -> _Contents:
    constant = metadata.get("tanh_constant", f"{TANH_CONSTANT}")
    try:
        return _Contents("safetensors", state, metadata.get("arch"), float(constant), metadata)
    except ValueError:
        raise FavError(f"{path}: tanh_constant: expected a number, got {constant[:40]!r}") from None


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a PyTorch state dict by its keys. No code in it is executed.

    Raises:
        FavError: The file is damaged, or contains code or objects.
    """
    return read_pickle_bytes(read_file(path, str(path), MAX_BYTES), path)


def read_pickle_bytes(data: bytes, path: Path) -> dict[str, Tensor]:
    """As `read_pickle`, of the content of a file. `path` is for messages."""
    try:
        if data[:2] == b"PK":
            records = zipfile.ZipFile(io.BytesIO(data)).infolist()
            if any("/code/" in record.filename for record in records):
                raise FavError(
                    f"{path}: TorchScript contains code, which is not run: {_STATE_DICT}, or export it as ONNX"
                )
            declared = sum(record.file_size for record in records)
            if declared > len(data):
                raise FavError(
                    f"{path}: expected records of at most {len(data)} bytes, the size of the file, got {declared}"
                )
        root = _plain_objects(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except FavError:
        raise
    except UnpicklingError as error:
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise FavError(
                f"{path}: refused, because it contains code or objects besides weights ({code[1]}): {_STATE_DICT}"
            ) from error
        raise FavError(f"{path}: damaged (truncated?), or a pickle of something else: {_STATE_DICT}") from error
    except Exception as error:  # torch.load does not document what it raises for damaged data
        raise FavError(f"{path}: damaged (truncated?): {_STATE_DICT}, got {type(error).__name__}") from error
    if isinstance(root, dict) and isinstance(root.get("state_dict"), dict):
        root = root["state_dict"]
    if not isinstance(root, dict) or not root:
        raise FavError(f"{path}: expected a state dict, got {type(root).__name__}")
    return {str(key).removeprefix("module."): value for key, value in root.items()}


def _plain_objects(value: object) -> object:
    """Replace instances of subclasses by plain dicts, lists, tuples and tensors.

    An unpickled object may have own attributes. One named `items` or `isfinite` would hide the method.
    """
    if isinstance(value, dict):
        return {key: _plain_objects(one) for key, one in dict.items(value)}
    if isinstance(value, list | tuple):
        items = map(_plain_objects, value)
        return list(items) if isinstance(value, list) else tuple(items)
    return Tensor.detach(value) if isinstance(value, Tensor) else value


@contextmanager
def unexpected_as_fav_error(path: Path | str) -> Iterator[None]:
    """Turn unexpected exceptions over a file of weights into FavError. PyTorch does not document what it raises."""
    try:
        yield
    except (FavError, OSError):
        raise
    except Exception as error:
        raise FavError(
            f"{path}: damaged, or not a file of weights: expected weights, got {type(error).__name__} ({error})"
        ) from error


def is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether this is a dense floating-point tensor in the memory of the CPU."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
        and not value.is_nested
    )


def _assemble(contents: _Contents, size: int) -> StyleNetwork:
    """Build the network from the content of a file of `size` bytes. Raises FavError if the weights do not fit."""
    state = dict(contents.state)
    for key, value in state.items():
        if not is_dense(value):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise FavError(f"weights {key[:80]}: expected floating-point numbers, got {kind}")
    needed = sum(value.numel() * value.element_size() for value in state.values())
    if needed > size:
        raise FavError(f"expected weights of at most {size} bytes, the size of the file, got {needed}")
    if not 0 < contents.tanh_constant < 1e4:
        raise FavError(f"tanh_constant: expected a number between 0 and 10000, got {contents.tanh_constant:g}")
    arch = contents.arch or architecture_of(state)
    first = next((key for key in ("0.weight", "1.weight", "2.weight") if key in state and state[key].ndim == 4), None)
    if first is None:
        raise FavError(f"{_KEYS}, got {', '.join([*state][:3])[:80] or 'none'}")
    with torch.device("meta"):  # allocates no memory, since the weights may not fit the architecture
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
