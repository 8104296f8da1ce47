"""The user's folders for caches and data.

Belongs here: the two roots, by the rules of the operating system. Does not: their contents.
"""

import os
from pathlib import Path

import platformdirs

from catalog.runtime.locations import required_path

CACHE_VARIABLE = "FEATURESTORE_CACHE"


def cache_directory() -> Path:
    """Return the cache folder; its contents can be recomputed.

    `$FEATURESTORE_CACHE`, else `genomic-featurestore` among the user's caches: in `$XDG_CACHE_HOME`, by default
    `~/.cache`; on macOS `~/Library/Caches`.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    return required_path(chosen) if chosen else platformdirs.user_cache_path("genomic-featurestore")


def data_directory() -> Path:
    """Return the folder for the user's data, such as the registry of known stores.

    `featurestore` among the user's data: in `$XDG_DATA_HOME`, by default `~/.local/share`; on macOS
    `~/Library/Application Support`, unless an earlier version made `~/.local/share/featurestore`.
    """
    former = Path.home() / ".local" / "share" / "featurestore"
    found = platformdirs.user_data_path("featurestore")
    return former if former.is_dir() and not found.is_dir() and not os.environ.get("XDG_DATA_HOME") else found
