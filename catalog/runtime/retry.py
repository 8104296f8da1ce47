"""Retry policy: transient errors, backoff, the budget of time.

Belongs here: how long an operation is tried and how long it waits between two attempts, alike for stores, genomes and
NCBI. Does not: the requests, and what the errors of one kind of server mean (`featurestore.objects.errors`,
`catalog.fasta.source`, `catalog.ncbi.client`).

An operation that fails with a transient error (a busy or restarting server, a broken connection, no answer) is tried
again for as many seconds as the environment variable `FEATURESTORE_RETRY_S` says, 120 by default, with an exponential
backoff from 0.1 s to 10 s, jittered. A request that has had no answer for an eighth of that time (1 to 15 s) counts as
failed. What is tried again is idempotent: a read, a write of the same bytes, a create that knows its own.
"""

import os
import random
import time

RETRY_VARIABLE = "FEATURESTORE_RETRY_S"

_DEFAULT_RETRY_S = 120.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0

_TRANSIENT_STATUSES = {408, 425, 429}
_PERMANENT_STATUSES = {501, 505, 507}


def retry_s() -> float:
    """Give how long an operation is tried (s): the environment's `FEATURESTORE_RETRY_S`, or 120.

    Raises
    ------
    ValueError
        If the variable is no number of seconds.
    """
    text = os.environ.get(RETRY_VARIABLE, "")
    try:
        seconds = float(text or _DEFAULT_RETRY_S)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{RETRY_VARIABLE} is {text!r}; set it to a number of seconds, such as 120, or unset it")
    return seconds


def stall_s() -> float:
    """Give how long a request may be without any answer (s)."""
    return min(max(retry_s() / 8, 1.0), 15.0)


def waits() -> list[float]:
    """Give the waits between the attempts of one operation, without jitter (s); they add up to `retry_s()` or more."""
    found: list[float] = []
    while sum(found) < retry_s():
        found.append(_longest_wait_s(len(found)))
    return found


def is_transient_status(status: int) -> bool:
    """Tell whether a request that HTTP answered so may succeed later."""
    return status in _TRANSIENT_STATUSES or (status >= 500 and status not in _PERMANENT_STATUSES)


def is_mistake(error: Exception) -> bool:
    """Tell whether an error is a mistake in a program (TypeError, KeyError, ...), and no server or disk that fails."""
    return type(error).__module__ == "builtins" and not isinstance(error, (OSError, NotImplementedError))


class Backoff:
    """The waits of one operation: exponential, jittered, within a budget of time that begins when this is made.

    Parameters
    ----------
    budget_s
        How long to try (s); None for `retry_s()`.
    allowed_s
        Time that the operation may take if nothing fails, on top of the budget (s).
    """

    def __init__(self, *, budget_s: float | None = None, allowed_s: float = 0.0) -> None:
        self._started = time.monotonic()
        self.budget_s = retry_s() if budget_s is None else budget_s
        self._allowed_s = allowed_s
        self.failures = 0
        """Attempts that failed, as far as `wait_s` was told."""

    @property
    def elapsed_s(self) -> float:
        """Time since the first attempt began (s)."""
        return time.monotonic() - self._started

    def wait_s(self, *, at_least_s: float = 0.0) -> float | None:
        """Give how long to wait after an attempt that failed with a transient error; no wait outlasts the budget.

        Parameters
        ----------
        at_least_s
            What the server asks for (s): HTTP's `Retry-After`.

        Returns
        -------
        Seconds; None if there is to be no other attempt, since the budget is spent or the server asks for more.
        """
        longest = _longest_wait_s(self.failures)
        self.failures += 1
        left = self.budget_s + self._allowed_s - self.elapsed_s
        if left <= 0 or at_least_s > left:
            return None
        # Jittered, so that many workers do not come back at once.
        return min(max(longest * random.uniform(0.5, 1), at_least_s), left)  # noqa: S311  # no secret hangs on it


def _longest_wait_s(failures: int) -> float:
    return float(min(_FIRST_WAIT_S * 2 ** min(failures, 32), _LONGEST_WAIT_S))
