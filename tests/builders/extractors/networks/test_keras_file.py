"""A file of Keras is data of a stranger: plain numbers in it are read, and everything else is refused."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_files import layers, tiny_weights, write_keras

from builders.extractors.networks import keras_file
from builders.extractors.networks.keras_file import KerasFileError, read_keras_layers

KERNEL = "model_weights/dense_2/dense_2/kernel:0"


def test_layers_come_in_order_with_their_settings_inputs_and_weights(tmp_path: Path) -> None:
    found = read_keras_layers(write_keras(tmp_path / "x.h5"))
    assert [layer.name for layer in found] == [layer["name"] for layer in layers()]
    assert found[1].kind == "Conv1D"
    assert found[1].settings["padding"] == "same"
    assert found[7].inputs == ("flatten_1", "halflife")
    for layer in found:
        kernel_and_bias = tiny_weights().get(layer.name, ())
        assert list(layer.weights) == (["kernel", "bias"] if kernel_and_bias else [])
        for value, written in zip(layer.weights.values(), kernel_and_bias, strict=True):
            np.testing.assert_array_equal(value, written)


def _external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["kernel"] = np.zeros((6, 2), np.float32)
    file[KERNEL] = h5py.ExternalLink(str(folder / "other.h5"), "kernel")


def _soft_link(file: h5py.File, folder: Path) -> None:
    file[KERNEL] = h5py.SoftLink("/model_weights/dense_1/dense_1/kernel:0")


def _other_file(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(48))
    file.create_dataset(KERNEL, shape=(6, 2), dtype="f4", external=[(str(folder / "secret"), 0, 48)])


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(shape=(6, 2), dtype="f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "kernel", shape=(6, 2))
    file.create_virtual_dataset(KERNEL, layout)


def _bomb(file: h5py.File, folder: Path) -> None:
    file.create_dataset(KERNEL, shape=(1 << 20, 1 << 16), dtype="f4", chunks=(1024, 1024), compression="gzip")


def _never_written(file: h5py.File, folder: Path) -> None:
    file.create_dataset(KERNEL, shape=(1 << 20, 1 << 16), dtype="f4")


def _of(values: object) -> Callable[[h5py.File, Path], None]:
    return lambda file, folder: file.create_dataset(KERNEL, data=values) and None


@pytest.mark.parametrize(
    ("put", "message"),
    [
        pytest.param(_external_link, "kernel:0' is a link to somewhere else", id="a link to another file"),
        pytest.param(_soft_link, "kernel:0' is a link to somewhere else", id="a soft link"),
        pytest.param(_other_file, "lie in the file, not packed and not elsewhere", id="numbers in another file"),
        pytest.param(_virtual, "lie in the file, not packed and not elsewhere", id="a virtual dataset"),
        pytest.param(_bomb, "lie in the file, not packed and not elsewhere", id="256 GB, packed"),
        pytest.param(_never_written, "lie in the file, not packed and not elsewhere", id="256 GB, never written"),
        pytest.param(_of(np.zeros((6, 2), int)), "is of int64", id="whole numbers"),
        pytest.param(_of(np.array([b"pickled", b"code"])), "is of |S7", id="texts"),
        pytest.param(_of(np.full((6, 2), np.nan)), "not finite; download", id="NaN"),
        pytest.param(lambda file, folder: None, "names the weights 'dense_2/kernel:0', which it does not", id="none"),
    ],
)
def test_weights_that_are_not_plain_numbers_in_the_file_are_refused(
    put: Callable[[h5py.File, Path], None], message: str, tmp_path: Path
) -> None:
    path = write_keras(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[KERNEL]
        put(file, tmp_path)
    with pytest.raises(KerasFileError) as refused:
        read_keras_layers(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_network_is_named_with_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(FileNotFoundError):
        read_keras_layers(path)
    for content, message in (
        (b"PK\x03\x04 a zip", "is no HDF5 file; expected what Keras's"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
    ):
        path.write_bytes(content)
        with pytest.raises(KerasFileError, match=message):
            read_keras_layers(path)
    for text, message in (
        (None, "no description of a network"),
        ("{", "model_config of .* is no JSON|is cut short|JSON"),
        ('{"config": {"layers": []}}', "describes no layers"),
        ('{"config": {"layers": [3]}}', "a layer without settings"),
        ('{"config": {"layers": [{"config": {}}]}}', "without a class or a name"),
        ('{"config": {"layers": [{"config": {"name": "a"}, "class_name": "Dense"}]}}', "no weights of the layer 'a'"),
    ):
        with h5py.File(path, "w") as file:
            if text is not None:
                file.attrs["model_config"] = text
        with pytest.raises(KerasFileError, match=message):
            read_keras_layers(path)
    write_keras(path)
    monkeypatch.setattr(keras_file, "MOST_BYTES", 1000)
    with pytest.raises(KerasFileError, match="at most 1,000 are read"):
        read_keras_layers(path)


def test_a_file_that_is_cut_short_anywhere_is_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = write_keras(tmp_path / "x.h5").read_bytes()
    path = tmp_path / "cut.h5"
    for size in range(0, len(whole), 997):
        path.write_bytes(whole[:size])
        with pytest.raises(KerasFileError, match=r"cut\.h5 .*(expected what Keras's|download it again)"):
            read_keras_layers(path)
