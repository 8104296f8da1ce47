"""Where this checkout lies, and real input beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FEATURESTORE_SHARED", ROOT.parent / "shared"))
"""Real genomes, tables and golden numbers; tests that need them are skipped where there are none."""
