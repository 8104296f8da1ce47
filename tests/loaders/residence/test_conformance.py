"""Every residence proves itself by the kit that ships for anyone's rows."""

from pathlib import Path

from featurestore import FeatureReader, RowSource
from featurestore.testing.conformance import RowSourceTests
from loaders.residence.memory import HeldRows
from loaders.residence.mirror import MirrorRows
from loaders.residence.streamed import StreamedRows


class TestHeldRows(RowSourceTests):
    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        return HeldRows(reader, 1 << 20)


class TestMirrorRows(RowSourceTests):
    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        return MirrorRows(reader, folder, 1 << 20)


class TestMirrorRowsInATightBudget(RowSourceTests):
    dtypes = ("float16",)

    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        return MirrorRows(reader, folder, 500)


class TestStreamedRows(RowSourceTests):
    dtypes = ("float16",)  # the rest is what TensorStoreRows does

    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        return StreamedRows(reader, 1 << 20)
