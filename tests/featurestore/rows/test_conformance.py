"""Our own engines prove themselves by the kit that ships for anyone's."""

from pathlib import Path

from featurestore import FeatureReader, RowSource, ZarrRows
from featurestore.rows.tensorstore_source import TensorStoreRows
from featurestore.testing.conformance import RowSourceTests


class TestZarrRows(RowSourceTests):
    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        return ZarrRows(reader.objects.zarr(read_only=True), reader.name)


class TestTensorStoreRows(RowSourceTests):
    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        assert isinstance(reader.source, TensorStoreRows)
        return reader.source
