"""A FASTA file that changed after it was opened is found, on a disk and at a URL, and nothing of it is kept."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fasta_server import PLACES, SEQUENCES, TEXT, FastaServer, Place, Request, bgzip, names, on_the_web

from catalog import Assembly, Fasta, FastaChanged
from catalog.runtime.folders import cache_directory


def set_time(path: Path, ns: int) -> None:
    os.utime(path, ns=(ns, ns))


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b">d\nAC\n")


def rewritten_in_place(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(3)
        file.write(b"T")
    set_time(path, stamp + 1)


def replaced(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().lower())
    set_time(other, stamp + 1)
    other.rename(path)


def rewritten_and_put_back(path: Path) -> None:
    kept = path.with_name("kept")
    kept.write_bytes(path.read_bytes())
    set_time(kept, path.stat().st_mtime_ns)
    rewritten_in_place(path)
    kept.rename(path)


def deleted(path: Path) -> None:
    path.unlink()


CHANGES = [appended, rewritten_in_place, replaced, rewritten_and_put_back, deleted]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip], ids=["plain", "gzip", "bgzip"])
def test_a_file_on_a_disk_that_changed_is_found(
    tmp_path: Path, change: Callable[[Path], None], pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(pack(b">c\nACGTACGT\n"))
    with Fasta(path) as fasta:
        fasta.fetch("c", 2, 6)
        fasta.check_unchanged()
        change(path)
        with pytest.raises(FastaChanged, match=r"a\.fa (changed: it had|is gone).*put that back.*store of its own"):
            fasta.check_unchanged()


def test_reads_go_on_from_the_file_that_was_opened_when_another_takes_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        replaced(path)
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]


def test_a_file_that_no_longer_fits_its_index_is_changed_rather_than_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        path.write_bytes(TEXT[:1000])
        with pytest.raises(FastaChanged, match="put that back"):
            fasta.fetch("chr1", 300_000, 300_100)


def test_a_copy_or_a_file_whose_name_changed_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        index = fasta.index
        set_time(path, path.stat().st_mtime_ns)
        fasta.check_unchanged()
    with Fasta(path.rename(tmp_path / "b.fa"), index=index) as moved:
        moved.check_unchanged()
        assert moved.fetch("chr2", 0, 3_000).tobytes().decode() == SEQUENCES["chr2"]


@pytest.mark.parametrize("place", PLACES)
def test_the_index_of_another_version_is_refused(place: Place, server: FastaServer, tmp_path: Path) -> None:
    name = f"{next(names)}.fa"
    with Fasta(place(name, TEXT, tmp_path, server)) as fasta:
        index = fasta.index
    url = place(name, TEXT.replace(b"ACGT", b"TTTTT", 1), tmp_path, server)
    with pytest.raises(FastaChanged, match=r"not the file that was indexed.*open it without the index"):
        Fasta(url, index=index)


@pytest.mark.parametrize("place", PLACES[1:])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip], ids=["plain", "gzip", "bgzip"])
def test_a_remote_file_that_changed_is_found(
    place: Place, pack: Callable[[bytes], bytes], server: FastaServer, tmp_path: Path
) -> None:
    name = f"{next(names)}.fa"
    with Fasta(place(name, pack(b">c\nACGT\n"), tmp_path, server)) as fasta:
        fasta.check_unchanged()
        place(name, pack(b">c\nACGG\n"), tmp_path, server)
        with pytest.raises(FastaChanged, match=r"changed: it had.*put that back.*store of its own"):
            fasta.check_unchanged()


def test_without_an_etag_the_time_of_change_tells(server: FastaServer) -> None:
    name = f"/{next(names)}.fa"
    server.faults = ["no ETag"]
    server.files[name], server.times[name] = b">c\nACGT\n", 1_000_000
    with Fasta(f"{server.url}{name}") as fasta:
        assert "Last-Modified" in fasta.version
        fasta.check_unchanged()
        server.times[name] += 1
        with pytest.raises(FastaChanged, match=r"changed: it had 8 bytes, Last-Modified"):
            fasta.check_unchanged()


def test_a_remote_file_that_is_gone_is_found(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa", b">c\nACGT\n", Path(), server)
    with Fasta(url) as fasta:
        server.files.clear()
        with pytest.raises(FastaChanged, match=r"is gone; .*put that back"):
            fasta.check_unchanged()
        with pytest.raises(FastaChanged, match="is gone"):
            fasta.fetch("c", 0, 4)


class _ChangesWhileRead(Fasta):
    def pieces(self, contigs: slice = slice(None)) -> Iterator[tuple[str, np.ndarray]]:
        yield from super().pieces(contigs)
        appended(Path(self.url))


def test_digests_of_a_file_that_changed_meanwhile_are_neither_given_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">c\nACGT\n")
    with _ChangesWhileRead(path) as fasta:
        with pytest.raises(FastaChanged):
            Assembly.from_fasta(fasta)
        assert not (fasta.cache / "contigs.json").exists()


def test_an_index_of_a_file_that_changed_meanwhile_is_not_kept(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    before = sorted(cache_directory().rglob("*"))

    def change(request: Request) -> None:
        if request.sent == len(TEXT):
            server.files[request.path] = TEXT.lower()

    server.afterwards = change
    with pytest.raises(FastaChanged, match="changed: it had"):
        Fasta(url)
    assert sorted(cache_directory().rglob("*")) == before
