"""What `model` offers."""

import subprocess
import sys

import model


def test_every_public_name_is_found_and_importing_the_package_loads_no_torch() -> None:
    for name in model.__all__:
        assert getattr(model, name) is not None
    code = "import sys, model, model.cli.use; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
