import struct
from pathlib import Path

import numpy as np
import pytest
from families import write_family
from gguf import GGUFReader
from gguf_models import write_gguf

from model.language.gguf_files.header import GgufError, read_header


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return write_gguf(folder / "tiny.gguf", write_family(folder / "tiny", "llama"), quantised="ffn_up")


def test_a_header_is_read_as_the_package_gguf_reads_it(file: Path) -> None:
    header, expected = read_header(file), GGUFReader(file)
    assert header.n_bytes == expected.data_offset
    assert list(header.tensors) == [tensor.name for tensor in expected.tensors]
    for tensor in expected.tensors:
        found = header.tensors[tensor.name]
        assert (found.start, found.n_bytes, found.type_code) == (
            tensor.data_offset,
            tensor.n_bytes,
            tensor.tensor_type,
        )
        assert found.shape == tuple(reversed(tensor.shape.tolist()))
    own = {key: field for key, field in expected.fields.items() if not key.startswith("GGUF.")}
    assert set(header.settings) | set(header.lengths) == set(own)
    assert all(own[key].contents() == value for key, value in header.settings.items())
    assert all(len(own[key].data) == length for key, length in header.lengths.items())


def test_a_file_that_is_cut_off_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole, cut = file.read_bytes(), tmp_path / "cut.gguf"
    for kept in np.linspace(4, len(whole) - 1, 60).astype(int):
        cut.write_bytes(whole[:kept])
        with pytest.raises(GgufError, match=r"cut off.*download"):
            read_header(cut)


def test_whatever_byte_of_a_header_is_changed_it_is_read_or_refused(file: Path, tmp_path: Path) -> None:
    whole, changed = file.read_bytes(), tmp_path / "changed.gguf"
    generator, n_bytes = np.random.default_rng(0), read_header(file).n_bytes
    refused = []
    for _ in range(400):
        content = bytearray(whole)
        content[generator.integers(n_bytes)] ^= 1 << int(generator.integers(8))
        changed.write_bytes(content)
        try:
            read_header(changed)
        except GgufError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(str(changed) in message for message in refused)


def _counts(tensors: int, settings: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, settings)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _tensor(name: str, rows: int, kind: int, offset: int) -> bytes:
    return _text(name) + struct.pack("<IQIQ", 1, rows, kind, offset)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", r"begins with b'', expected b'GGUF'", id="empty"),
        pytest.param(b"PK\3\4 zipped", r"no GGUF file: it begins with b'PK", id="something else"),
        pytest.param(b"GGUF" + struct.pack("<I", 1), r"version 1, expected 2 or 3", id="an old version"),
        pytest.param(b"GGUF" + struct.pack(">I", 3), r"version 3 with bytes in big-endian order", id="big-endian"),
        pytest.param(_counts(0, 1 << 60), r"cut off or damaged", id="2^60 settings"),
        pytest.param(_counts(1 << 60, 0), r"cut off or damaged", id="2^60 tensors"),
        pytest.param(_counts(0, 1) + struct.pack("<Q", 1 << 62), r"asks for 4,611,\d+,\d+,.* bytes", id="a long key"),
        pytest.param(
            _counts(0, 1) + _text("k") + struct.pack("<IIQ", 9, 0, 1 << 60), r"asks for 1,152,", id="a long array"
        ),
        pytest.param(
            _counts(0, 1) + _text("k") + struct.pack("<IIQ", 9, 8, 1 << 60), r"cut off or damaged", id="many texts"
        ),
        pytest.param(
            _counts(0, 1) + _text("k") + struct.pack("<IIQ", 9, 9, 1), r"array of the type 9", id="arrays of arrays"
        ),
        pytest.param(_counts(0, 1) + _text("k") + struct.pack("<I", 77), r"unknown type 77", id="an unknown type"),
        pytest.param(_counts(0, 2) + 2 * (_text("k") + struct.pack("<IB", 0, 1)), r"sets k twice", id="a key twice"),
        pytest.param(
            _counts(0, 1) + _text("general.alignment") + struct.pack("<II", 4, 0), r"power of two", id="no alignment"
        ),
        pytest.param(_counts(1, 0) + _text("t") + struct.pack("<I", 9), r"9 dimensions", id="nine dimensions"),
        pytest.param(
            _counts(1, 0) + _tensor("t", 32, 99, 0) + bytes(400),
            r"stores t in the type 99, .*update `gguf`, or take a release",
            id="an unknown quantisation",
        ),
        pytest.param(_counts(1, 0) + _tensor("t", 33, 2, 0) + bytes(400), r"blocks of 32", id="half a block"),
        pytest.param(_counts(1, 0) + _tensor("t", 1 << 62, 0, 0), r"t ends at byte", id="a tensor beyond the end"),
        pytest.param(
            _counts(2, 0) + _tensor("t", 8, 0, 0) + _tensor("u", 8, 0, 4) + bytes(400), r"lies upon", id="overlaid"
        ),
        pytest.param(_counts(2, 0) + 2 * _tensor("t", 8, 0, 0) + bytes(400), r"holds t twice", id="a tensor twice"),
    ],
)
def test_a_header_that_lies_is_refused_without_reading_on(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError, match=reason):
        read_header(path)
