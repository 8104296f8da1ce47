"""The header of a GGUF file, with each of its lengths checked against the file.

Belongs here: settings, names and places of tensors, as the file claims them. Does not: values of tensors, handing the
file to Transformers (`model.language.gguf_files.source`).

The readers that come later trust what a file says of itself: one of them loops as often as an array claims to be long,
another makes matrices as large as a setting asks for. The layout is that of ggml's GGUF specification.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of settings that are numbers, by code, as `struct` writes them."""
_TEXT, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4
_MOST_ALIGNMENT = 1 << 16

Setting = int | float | bool | str


class GgufError(ValueError):
    """A file that is no GGUF file, is damaged, or holds what is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies in the file, and how."""

    shape: tuple[int, ...]
    """Outermost dimension first, as torch has it."""
    type_code: int
    """How its values are stored; `gguf.GGMLQuantizationType` names it."""
    start: int
    """First byte, from the beginning of the file."""
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    settings: Mapping[str, Setting]
    """Numbers and texts by key, such as `llama.block_count`."""
    lengths: Mapping[str, int]
    """Elements of each array by key, such as `tokenizer.ggml.tokens`."""
    tensors: Mapping[str, StoredTensor]
    n_bytes: int
    """Bytes of the header: the tensors come after it."""

    @property
    def n_elements(self) -> int:
        """Numbers that all tensors together hold."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())


def read_header(path: Path) -> GgufHeader:
    """Read a header, and check that every tensor lies in the file, apart from the others.

    Raises
    ------
    GgufError
        If it is no GGUF file, of a version that is not read, cut off, damaged, or stores a tensor in a type that the
        package `gguf` does not know.
    ImportError
        If that package is not installed.
    OSError
        If the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise GgufError(f"{path} is no GGUF file: it begins with {magic!r}, expected {_MAGIC!r}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            cursor = _Cursor(path, content)
            n_tensors, n_settings = _counts(cursor)
            settings, lengths = _settings(cursor, n_settings)
            table = [_tensor_entry(cursor) for _ in range(n_tensors)]
            begin = _data_begin(cursor, settings)
    tensors = _placed(path, table, begin)
    _check_places(path, tensors, size)
    return GgufHeader(settings=settings, lengths=lengths, tensors=tensors, n_bytes=begin)


class _Cursor:
    """A place in the file that moves on as values are read, and never past the end."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path = path
        self._content = content
        self._size = len(content)
        self.position = len(_MAGIC)

    def skip(self, n_bytes: int) -> int:
        """Move on; give the place before."""
        start = self.position
        if n_bytes > self._size - start:
            raise GgufError(
                f"{self.path} ({self._size:,} bytes) is cut off or damaged: its header asks for {n_bytes:,} bytes from "
                f"byte {start:,} on; download it again"
            )
        self.position = start + n_bytes
        return start

    def numbers(self, codes: str) -> tuple[int, ...]:
        layout = f"<{codes}"
        start = self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._content, start)

    def text(self) -> str:
        (length,) = self.numbers("Q")
        start = self.skip(length)
        try:
            return self._content[start : start + length].decode()
        except UnicodeDecodeError as error:
            raise self.damaged(f"a text at byte {start:,} is not UTF-8") from error

    def damaged(self, reason: str) -> GgufError:
        return GgufError(f"{self.path} is a damaged GGUF file: {reason}; download it again")


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """Read the version and give the numbers of tensors and of settings."""
    (version,) = cursor.numbers("I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        found = f"{swapped} with bytes in big-endian order" if swapped in _VERSIONS else str(version)
        raise GgufError(
            f"{cursor.path} is of GGUF version {found}, expected {' or '.join(map(str, _VERSIONS))}, little-endian; "
            "convert it with today's llama.cpp, or download it anew"
        )
    n_tensors, n_settings = cursor.numbers("QQ")
    return n_tensors, n_settings


def _settings(cursor: _Cursor, count: int) -> tuple[dict[str, Setting], dict[str, int]]:
    settings: dict[str, Setting] = {}
    lengths: dict[str, int] = {}
    for _ in range(count):
        key = cursor.text()
        if key in settings or key in lengths:
            raise cursor.damaged(f"it sets {key} twice")
        (code,) = cursor.numbers("I")
        if code == _ARRAY:
            lengths[key] = _skip_array(cursor, key)
        elif code == _TEXT:
            settings[key] = cursor.text()
        elif code in _NUMBERS:
            (settings[key],) = cursor.numbers(_NUMBERS[code])
        else:
            raise cursor.damaged(f"{key} is of the unknown type {code}")
    return settings, lengths


def _skip_array(cursor: _Cursor, key: str) -> int:
    code, length = cursor.numbers("IQ")
    if code == _TEXT:
        for _ in range(length):
            (n_bytes,) = cursor.numbers("Q")
            cursor.skip(n_bytes)
    elif code in _NUMBERS:
        cursor.skip(length * struct.calcsize(f"<{_NUMBERS[code]}"))
    else:
        raise cursor.damaged(f"{key} is an array of the type {code}, which is not read")
    return length


def _tensor_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Read name, shape, type and offset within the data."""
    name = cursor.text()
    (n_dimensions,) = cursor.numbers("I")
    if n_dimensions > _MOST_DIMENSIONS:
        raise cursor.damaged(f"{name} has {n_dimensions:,} dimensions, expected at most {_MOST_DIMENSIONS}")
    shape = cursor.numbers(f"{n_dimensions}Q")[::-1]
    code, offset = cursor.numbers("IQ")
    return name, shape, code, offset


def _data_begin(cursor: _Cursor, settings: Mapping[str, Setting]) -> int:
    alignment = settings.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
        raise cursor.damaged(f"general.alignment is {alignment!r}, expected a power of two up to {_MOST_ALIGNMENT:,}")
    return -(-cursor.position // alignment) * alignment


def _placed(path: Path, table: list[tuple[str, tuple[int, ...], int, int]], begin: int) -> dict[str, StoredTensor]:
    # Here, since it is an extra, and costs time to import.
    from gguf import GGML_QUANT_SIZES

    sizes = {int(code): size for code, size in GGML_QUANT_SIZES.items()}
    tensors: dict[str, StoredTensor] = {}
    for name, shape, code, offset in table:
        if name in tensors:
            raise GgufError(f"{path} is a damaged GGUF file: it holds {name} twice; download it again")
        if code not in sizes:
            raise GgufError(
                f"{path} stores {name} in the type {code}, which the package `gguf` does not know; update `gguf`, or "
                "take a release of the model in F16, Q8_0 or Q4_K_M"
            )
        block, block_bytes = sizes[code]
        if (shape[-1] if shape else 1) % block:
            raise GgufError(
                f"{path} is a damaged GGUF file: {name} has rows of {shape[-1]:,} values, but they are stored in "
                f"blocks of {block}; download it again"
            )
        n_bytes = prod(shape) // block * block_bytes
        tensors[name] = StoredTensor(shape=shape, type_code=code, start=begin + offset, n_bytes=n_bytes)
    return tensors


def _check_places(path: Path, tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Refuse tensors beyond the end of the file, or one upon the other: a small file could claim any memory."""
    past = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
        if tensor.start < past:
            raise GgufError(f"{path} is a damaged GGUF file: {name} lies upon another tensor; download it again")
        past = tensor.start + tensor.n_bytes
        if past > size:
            raise GgufError(
                f"{path} ({size:,} bytes) is cut off: {name} ends at byte {past:,}; download all of it again"
            )
