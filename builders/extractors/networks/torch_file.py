"""Parameters that torch or safetensors saved, read as data: nothing in a file is run.

Belongs here: opening a file, and comparing names and shapes with those of a network. Does not: any one network.
"""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from catalog.runtime.locations import required_path

_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin: a pickled magic number."""
_PREFIXES = re.compile(r"^(?:module\.|model\.)+")
_Network = TypeVar("_Network", bound=torch.nn.Module)


class WeightsError(ValueError):
    """A file that does not hold the parameters of the network that it was given for."""


def read_parameters(
    path: str | os.PathLike[str], *, expected: str, raises: type[WeightsError] = WeightsError
) -> dict[str, Any]:
    """Open a file of parameters by name.

    Tensors are mapped from the file, not read: milliseconds for a `.safetensors` or a file of torch 1.6 or newer.
    Leading `module.` and `model.` are taken off the names, which wrappers put there.

    Parameters
    ----------
    expected
        Which file is expected, for the end of an error message.
    raises
        The error to raise.

    Returns
    -------
    On the CPU, in the precision of the file; not checked to be tensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    WeightsError
        If it is damaged, holds pickled code, or something else than parameters by name.
    """
    path = required_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; {expected}")
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickle
    content = read(path, expected, raises)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]  # beside the state of an optimiser, as trainers save it
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise raises(f"{path} holds a {type(content).__name__}, not parameters by name; {expected}")
    state = {_PREFIXES.sub("", key): value for key, value in content.items()}
    if len(state) < len(content):
        raise raises(
            f"{path}: {len(content) - len(state)} names are the same without their module. and model. prefixes; "
            f"{expected}"
        )
    return state


def disagreements(state: Mapping[str, Any], network: torch.nn.Module) -> list[str]:
    """Say all that keeps parameters by name from being those of a network."""
    expected = network.state_dict()
    problems = [f"missing {key} {tuple(value.shape)}" for key, value in expected.items() if key not in state]
    for key, value in state.items():
        is_count = key in expected and not expected[key].is_floating_point()  # of batches, in batch norm
        if not isinstance(value, torch.Tensor) or not (value.is_floating_point() or is_count):
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            problems.append(f"{key} is {kind}, expected floating-point weights")
        elif key not in expected:
            problems.append(f"unexpected {key} {tuple(value.shape)}")
        elif value.shape != expected[key].shape:
            problems.append(f"{key} has shape {tuple(value.shape)}, expected {tuple(expected[key].shape)}")
    return problems


def load_parameters(
    network: _Network, state: Mapping[str, Any], *, path: Path, expected: str, raises: type[WeightsError] = WeightsError
) -> _Network:
    """Put parameters into a network, and make it ready for inference in float32 on the CPU.

    The network may be on the device `meta`: its parameters are taken as they are, mapped from the file.

    Raises
    ------
    WeightsError
        If names or shapes are not those of the network (all that is wrong is listed), or numbers are not finite.
    """
    problems = disagreements(state, network)
    if problems:
        raise raises(f"{path} holds other parameters than expected: {'; '.join(problems)}; {expected}")
    network.load_state_dict(state, assign=True)
    network.float().eval().requires_grad_(False)
    refuse_spoiled(network, path, raises)
    return network


def refuse_spoiled(network: torch.nn.Module, path: Path, raises: type[WeightsError] = WeightsError) -> None:
    """Refuse a network with NaN or infinite weights."""
    # Minimum and maximum carry NaN along and need no copy, unlike `isfinite` on 480 M weights.
    spoiled = [
        key
        for key, value in network.state_dict().items()
        if value.is_floating_point() and value.numel() and not all(map(torch.isfinite, value.aminmax()))
    ]
    if spoiled:
        raise raises(
            f"{path} holds NaN or infinite weights in {', '.join(spoiled)}; training diverged, or the file is damaged: "
            "fetch it again"
        )


def _read_safetensors(path: Path, expected: str, raises: type[WeightsError]) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"reading {path} needs safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise raises(
            f"{path} ({path.stat().st_size:,} bytes) is truncated, or no safetensors file ({error}); fetch it again, "
            "or name a .pth file .pth"
        ) from error


def _read_pickle(path: Path, expected: str, raises: type[WeightsError]) -> object:
    with path.open("rb") as file:
        head = file.read(len(_OLD_TORCH))
    if head.startswith(_GZIP):
        raise raises(f"{path} is an archive; unpack it (`tar -xzf {path.name}`) and give the file of weights in it")
    if not head.startswith((_ZIP, _OLD_TORCH)):
        raise raises(f"{path} is no checkpoint of torch: it begins with {head[:8]!r}; {expected}")
    try:
        # Only the format since torch 1.6, a zip file, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(_ZIP))
    except pickle.UnpicklingError as error:
        # Torch's own text advises to load it all the same, so only the name in it is passed on.
        names = re.findall(r"GLOBAL (\S+)", str(error))
        raise raises(
            f"{path} holds pickled code{f' ({names[0]})' if names else ''}, and loading that could run anything, so it "
            "was refused; save weights alone: torch.save(network.state_dict(), path)"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise raises(
            f"{path} ({path.stat().st_size:,} bytes) is truncated or damaged ({reason}); fetch it again"
        ) from error
