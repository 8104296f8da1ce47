import re
from pathlib import Path

import pytest
import torch
from full_disk import limited_files
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.prefixes.budgets import checked_bytes
from model.language.prefixes.cache import PrefixCache
from model.language.prefixes.disk import DiskTier
from model.language.prefixes.memory import MemoryTier
from model.language.prefixes.prefetch import LookAhead
from model.language.prefixes.records import CacheDtype
from model.language.prefixes.store import PrefixStore
from model.testing import Family

N_DATA = 3
BATCH = 3
TEXTS = [f"# Symbol: {'story ' * (index % 4)}gene {index}" for index in range(12)]
BATCHES = [TEXTS[start : start + BATCH] for start in range(0, len(TEXTS), BATCH)]


@pytest.fixture(scope="module")
def backbone(directories: dict[Family, Path]) -> Backbone:
    return Backbone(directories["llama"], max_layers=2)


def _data(backbone: Backbone) -> Tensor:
    data = torch.randn(BATCH, N_DATA, backbone.embedding_width, generator=torch.Generator().manual_seed(1))
    return data.to(backbone.embeddings.device)


def _epochs(cache: PrefixCache, epochs: int = 2, *, looks_ahead: bool = True) -> list[Tensor]:
    """Read all batches as a training does."""
    read = []
    for _ in range(epochs):
        ahead = LookAhead(BATCHES, lambda texts: cache.announce(texts, N_DATA)) if looks_ahead else BATCHES
        read += [cache(_data(cache.backbone), texts) for texts in ahead]
    return read


def _bytes_of(backbone: Backbone, texts: list[str], dtype: CacheDtype = "model") -> int:
    """Count the bytes of some prompts, but for what all begin with."""
    cache = PrefixCache(backbone, dtype=dtype)
    cache.plan(TEXTS, N_DATA)
    lengths = [len(row) - cache.head_length for row in backbone.token_rows(texts, N_DATA)]
    return sum(lengths) * cache.layout.token_bytes


@given(data=st.data(), dtype=st.sampled_from(["model", "int8"]), looks_ahead=st.booleans())
@settings(max_examples=8)
def test_what_is_read_is_the_same_whatever_the_tier(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: Backbone,
    data: st.DataObject,
    dtype: CacheDtype,
    looks_ahead: bool,
) -> None:
    whole = _bytes_of(backbone, TEXTS, dtype)
    on_device, on_host = (data.draw(st.integers(0, whole)) for _ in range(2))
    folder = tmp_path_factory.mktemp("prefixes")
    tiered = PrefixCache(
        backbone,
        max_bytes=on_device,
        host_bytes=on_host,
        store=PrefixStore(folder, max_bytes=4 * whole + (1 << 16)),
        dtype=dtype,
    )
    on_device_alone = PrefixCache(backbone, max_bytes=2 * whole, dtype=dtype)
    for cache in (tiered, on_device_alone):
        cache.plan(TEXTS, N_DATA)
    for found, expected in zip(_epochs(tiered, looks_ahead=looks_ahead), _epochs(on_device_alone), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert "computed" not in _second_epoch(tiered)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_pinned_memory_and_disk_give_what_the_device_does(
    directories: dict[Family, Path], tmp_path: Path
) -> None:
    backbone = Backbone(directories["llama"], max_layers=2).to("cuda")
    whole = _bytes_of(backbone, TEXTS)
    store = PrefixStore(tmp_path, max_bytes=4 * whole + (1 << 16))
    tiered = PrefixCache(backbone, max_bytes=whole // 3, host_bytes=whole // 3, store=store)
    on_device_alone = PrefixCache(backbone, max_bytes=2 * whole)
    for cache in (tiered, on_device_alone):
        cache.plan(TEXTS, N_DATA)
    for found, expected in zip(_epochs(tiered, 4), _epochs(on_device_alone, 4), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert {"device", "host", "disk"} == set(_second_epoch(tiered))
    measured = PrefixCache(backbone)
    _epochs(measured, 1)
    held = measured.held_bytes
    assert measured.measure_step(BATCH)
    assert measured.held_bytes == held


def _second_epoch(cache: PrefixCache) -> dict[str, float]:
    """Read once more, and give where prompts were found."""
    cache.hit_rates()
    _epochs(cache, 1)
    return cache.hit_rates()


def test_budgets_of_a_few_prompts_fill_all_three_tiers_and_the_rest_is_computed(
    backbone: Backbone, tmp_path: Path
) -> None:
    of_three, of_all = _bytes_of(backbone, TEXTS[:3]), _bytes_of(backbone, TEXTS)
    cache = PrefixCache(
        backbone, max_bytes=of_three, host_bytes=of_three, store=PrefixStore(tmp_path, max_bytes=of_three + 600)
    )
    assert re.match(r"KV cache of 12 prompts: .* MB in float32, \d+ leading tokens shared", cache.plan(TEXTS, N_DATA))
    _epochs(cache, 1)
    assert of_three < cache.held_bytes <= 2 * of_three < of_all
    rates = _second_epoch(cache)
    assert list(rates) == ["device", "host", "disk", "computed"]
    assert sum(rates.values()) == pytest.approx(1)
    for texts in BATCHES:
        torch.testing.assert_close(
            cache(_data(backbone), texts), backbone(_data(backbone), texts), rtol=1e-5, atol=1e-5
        )
    assert re.fullmatch(
        r"prompts read: device \S+%, host \S+%, disk \S+%, computed \S+%; "
        r"their KV cache holds: device .* of .* MB, host .* of .* MB, disk .* of .* MB",
        cache.report(),
    )


def test_what_all_prompts_begin_with_is_kept_once(backbone: Backbone) -> None:
    shared, whole = PrefixCache(backbone), PrefixCache(backbone)
    shared.plan(TEXTS, N_DATA)
    for one, other in zip(_epochs(shared), _epochs(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    rows = backbone.token_rows(TEXTS, N_DATA)
    assert shared.head_length >= 2
    assert whole.held_bytes - shared.held_bytes == len(rows) * shared.head_length * shared.layout.token_bytes


def test_a_prompt_without_the_shared_beginning_is_read_whole(backbone: Backbone) -> None:
    cache = PrefixCache(backbone)
    cache.plan(TEXTS, N_DATA)
    texts = ["x", TEXTS[0], "another gene"]
    for _ in range(2):
        torch.testing.assert_close(
            cache(_data(backbone), texts), backbone(_data(backbone), texts), rtol=1e-5, atol=1e-5
        )


def test_int8_changes_what_is_read_by_little_and_takes_less(backbone: Backbone) -> None:
    exact, rounded = PrefixCache(backbone), PrefixCache(backbone, dtype="int8")
    spread = torch.cat(_epochs(exact, 1)).std()
    differences = [one - other for one, other in zip(_epochs(rounded, 1), _epochs(exact, 1), strict=True)]
    assert 0 < torch.cat(differences).square().mean().sqrt() < 0.02 * spread
    # 8 components of a head here: 4 bytes of scale beside them.
    assert rounded.held_bytes == exact.held_bytes * (8 + 4) // (8 * 4)


def test_a_loader_is_looked_ahead_in_and_keeps_its_order() -> None:
    announced: list[int] = []
    ahead = LookAhead(range(7), announced.append)
    assert len(ahead) == 7
    for position, batch in enumerate(ahead):
        assert batch == position
        assert announced[-1] == min(position + 2, 6)
    assert announced == list(range(7))


@given(budget=st.integers(0, 4000), lengths=st.lists(st.integers(0, 9), max_size=12))
def test_memory_never_takes_more_than_its_budget_and_keeps_what_it_took(budget: int, lengths: list[int]) -> None:
    tier = MemoryTier(torch.device("cpu"), budget)
    records = {bytes([number]): torch.randn(length, 5) for number, length in enumerate(lengths)}
    kept = {key for key, record in records.items() if tier.put(key, record)}
    assert tier.held_bytes == sum(records[key].nbytes for key in kept) <= budget
    for key, record in records.items():
        found = tier.get(key)
        assert (found is not None and torch.equal(found, record)) if key in kept else found is None


def test_a_next_run_with_a_small_disk_finds_what_the_last_one_left(backbone: Backbone, tmp_path: Path) -> None:
    room = _bytes_of(backbone, TEXTS[:6]) + 1200
    for is_first in (True, False):
        cache = PrefixCache(backbone, max_bytes=0, host_bytes=0, store=PrefixStore(tmp_path, max_bytes=room))
        cache.plan(TEXTS, N_DATA)
        _epochs(cache, 1)
        assert ("disk" in cache.hit_rates()) is not is_first


def test_a_file_of_another_precision_under_a_prompt_s_name_is_refused_before_the_first_step(
    backbone: Backbone, tmp_path: Path
) -> None:
    store = PrefixStore(tmp_path, max_bytes=1 << 20)
    cache = PrefixCache(backbone, store=store)
    cache.plan(TEXTS, N_DATA)
    (row,) = backbone.token_rows(TEXTS[:1], N_DATA)
    record = torch.zeros(len(row) - cache.head_length, cache.layout.width, dtype=torch.bfloat16)
    disk = DiskTier(store, backbone, cache.layout, head_length=cache.head_length)
    disk.put(row.tobytes(), record, is_in_memory=False)
    with pytest.raises(BackboneError, match=r"another model or precision.*bfloat16.*float32.*`prefix_cache=`"):
        PrefixCache(backbone, store=store).plan(TEXTS, N_DATA)


def test_a_full_disk_is_refused_before_the_first_step(backbone: Backbone, tmp_path: Path) -> None:
    cache = PrefixCache(backbone, store=PrefixStore(tmp_path, max_bytes=1 << 20))
    with limited_files(64), pytest.raises(OSError, match=r"does not take.*one prompt.*make room there"):
        cache.plan(TEXTS, N_DATA)
    assert not list(tmp_path.glob("*.block"))


def test_a_disk_that_fills_up_later_stops_the_keeping_and_not_the_training(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = PrefixCache(backbone, max_bytes=0, store=PrefixStore(tmp_path, max_bytes=1 << 20))
    cache.plan(TEXTS, N_DATA)
    with limited_files(64):
        read = _epochs(cache)
    for found, expected in zip(read, _epochs(PrefixCache(backbone)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len([record for record in caplog.records if "free some space there" in record.getMessage()]) == 1


def test_a_budget_above_what_is_free_is_refused() -> None:
    cpu = torch.device("cpu")
    assert checked_bytes(0.001, name="prefix_host_gb", device=cpu) == 1_000_000
    assert checked_bytes(None, name="prefix_host_gb", device=cpu) is None
    with pytest.raises(ValueError, match=r"`prefix_host_gb=1e\+06` is more than the .* GB that are free.*give less"):
        checked_bytes(1e6, name="prefix_host_gb", device=cpu)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="counts GB from 0"):
            checked_bytes(wrong, name="prefix_host_gb", device=cpu)
