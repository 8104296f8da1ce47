"""What every test starts from: a cache of its own, and no network."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No test is timed: how long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Two processes of tests on two cores: threads of torch that wait for each other took ten times as long as one alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read once, when huggingface_hub is imported: a fixture would come too late.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURESTORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
