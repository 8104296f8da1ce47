"""Read a window of a store without Zarr: `python read_window.py STORE SET CONTIG CENTRE N_BINS` prints it as JSON."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd


def checked(data: bytes, where: Path) -> bytes:
    """Take the crc32c, the last 4 bytes, off a chunk or an index; an error if it is wrong."""
    if len(data) < 4 or google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError(f"{where} is damaged: a checksum is wrong")
    return data[:-4]


def read_rows(store: Path, values: Path, commits: Path, phase: int, rows: range) -> dict[int, list[float]]:
    """Read rows of one phase by their number."""
    array = json.loads((values / "zarr.json").read_bytes())
    sharding, shard_rows = array["codecs"][0]["configuration"], array["chunk_grid"]["configuration"]["chunk_shape"][1]
    (_, chunk_rows, channels), found = sharding["chunk_shape"], {}
    for row in rows:
        shard, within = divmod(row, shard_rows)
        path = values / f"c/{phase}/{shard}/0"
        if not (commits / f"{phase}-{shard}.json").exists():
            raise LookupError(f"{path} was not built: it has no commit record")
        data, n_chunks = path.read_bytes(), shard_rows // chunk_rows
        index = np.frombuffer(checked(data[-16 * n_chunks - 4 :], path), "<u8").reshape(n_chunks, 2)
        start, size = map(int, index[within // chunk_rows])
        chunk = Zstd().decode(checked(data[start : start + size], path))
        block = np.frombuffer(chunk, np.dtype(array["data_type"]).newbyteorder("<")).reshape(chunk_rows, channels)
        found[row] = block[within % chunk_rows].tolist()
    return found


def read_window(store: Path, name: str, contig: str, centre: int, n_bins: int) -> dict[str, Any]:
    """Read a window of `n_bins` bins as near to a centre (0-based bp) as the phases allow."""
    if json.loads((store / "zarr.json").read_bytes())["attributes"]["featurestore"]["format"] not in (1, 2):
        raise ValueError(f"{store} has a format that this reader does not know")
    features = json.loads((store / "features" / name / "zarr.json").read_bytes())["attributes"]["feature_set"]
    folder = re.sub("[^A-Za-z0-9._+-]", lambda found: "".join(f"={byte:02X}" for byte in found[0].encode()), contig)
    group, size, offsets = store / "features" / name / folder, features["bin_size"], features["offsets"]
    start = centre - n_bins * size // 2
    firsts = [(start + offset + (size - 1) // 2) // size for offset in offsets]
    residuals = [first * size - offset - start for first, offset in zip(firsts, offsets, strict=True)]
    phase = min(range(len(offsets)), key=lambda phase: abs(residuals[phase]))
    length = json.loads((group / "zarr.json").read_bytes())["attributes"]["length"]
    wanted = range(firsts[phase], firsts[phase] + n_bins)
    inside = range(max(wanted.start, 0), min(wanted.stop, -(-(length + offsets[phase]) // size)))
    rows = read_rows(store, group / "values", store / "commits" / name / folder, phase, inside)
    values = [rows.get(row, features["pad"]) for row in wanted]
    return {"phase": phase, "first_bin": wanted.start, "residual": residuals[phase], "values": values}


if __name__ == "__main__":
    print(json.dumps(read_window(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
