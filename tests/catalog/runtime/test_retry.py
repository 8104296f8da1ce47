"""The retry policy: waits grow, are jittered, and end with the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.runtime import retry
from catalog.runtime.retry import Backoff, is_mistake, is_transient_status, retry_s, stall_s, waits


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(retry, "time", made)
    return made


@given(st.floats(0.01, 500), st.floats(0, 60))
def test_the_waits_fill_the_budget_and_end_with_it(budget_s: float, allowed_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(retry, "time", clock)
        backoff = Backoff(budget_s=budget_s, allowed_s=allowed_s)
        while (wait_s := backoff.wait_s()) is not None:
            longest = min(0.1 * 2 ** (backoff.failures - 1), 10.0)
            is_last = clock.now + wait_s >= budget_s + allowed_s - 1e-6
            assert is_last or longest / 2 <= wait_s <= longest
            clock.now += wait_s
            assert backoff.failures < 1000
        assert clock.now == pytest.approx(budget_s + allowed_s)


def test_what_a_server_asks_for_is_waited_for_if_the_budget_has_it(clock: Clock) -> None:
    backoff = Backoff(budget_s=5)
    assert backoff.wait_s(at_least_s=3) == 3
    clock.now += 3
    assert backoff.wait_s(at_least_s=3) is None
    assert backoff.wait_s(at_least_s=2) == 2
    assert (backoff.failures, backoff.elapsed_s) == (3, 3)


def test_no_budget_is_one_attempt(clock: Clock) -> None:
    assert Backoff(budget_s=0).wait_s() is None


def test_the_environment_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATURESTORE_RETRY_S", raising=False)
    assert (retry_s(), stall_s(), Backoff().budget_s) == (120, 15, 120)
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "2")
    assert (retry_s(), stall_s(), Backoff().budget_s) == (2, 1, 2)
    assert waits() == [0.1, 0.2, 0.4, 0.8, 1.6]
    for nonsense in ("2 minutes", "-1", "inf", "nan"):
        monkeypatch.setenv("FEATURESTORE_RETRY_S", nonsense)
        with pytest.raises(ValueError, match=r"set it to a number of seconds, such as 120, or unset it"):
            retry_s()


def test_statuses_of_busy_servers_are_transient_and_refusals_are_not() -> None:
    assert [status for status in range(400, 600) if is_transient_status(status) and status < 500] == [408, 425, 429]
    assert [status for status in range(500, 510) if not is_transient_status(status)] == [501, 505, 507]


def test_a_mistake_in_a_program_is_no_failure_of_a_server() -> None:
    assert is_mistake(TypeError())
    assert is_mistake(KeyError())
    for failure in (OSError(), TimeoutError(), NotImplementedError()):
        assert not is_mistake(failure)
