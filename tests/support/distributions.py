"""Distributions as an installer leaves them, for tests of plug-ins."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, *, modules: Mapping[str, str], plugins: Mapping[str, Mapping[str, str]]) -> None:
    """Write a distribution's modules (source by name) and metadata into a folder, which is to be put on `sys.path`.

    `plugins` has `module:object` by name, by entry-point group.
    """
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in of.items()) for group, of in plugins.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
