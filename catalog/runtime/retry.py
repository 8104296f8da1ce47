"""Retry policy: transient errors, exponential backoff, time budget.

Belongs here: how long an operation is retried and how long it waits between attempts, the same for stores, genomes and
NCBI. Does not: the requests, and what the errors of one kind of server mean (`featurestore.objects.errors`,
`catalog.fasta.source`, `catalog.ncbi.client`).

An operation that fails with a transient error (a busy or restarting server, a broken connection, no answer) is retried
for `FEATURESTORE_RETRY_S` seconds (environment variable, 120 by default), with an exponential backoff from 0.1 s to
10 s, jittered. A request times out after an eighth of that (1 to 15 s) without an answer. Only idempotent operations
are retried: a read, a write of the same bytes, a create-if-absent that recognises its own object.
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
    """Time budget of an operation (s): the environment's `FEATURESTORE_RETRY_S`, or 120.

    Raises
    ------
    ValueError
        If the variable is not a number of seconds.
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
    """Timeout of a request that gets no answer (s)."""
    return min(max(retry_s() / 8, 1.0), 15.0)


def waits() -> list[float]:
    """Backoff of one operation as a list of waits, without jitter (s); they add up to `retry_s()` or more."""
    found: list[float] = []
    while sum(found) < retry_s():
        found.append(_longest_wait_s(len(found)))
    return found


def is_transient_status(status: int) -> bool:
    """Tell whether an HTTP status is transient."""
    return status in _TRANSIENT_STATUSES or (status >= 500 and status not in _PERMANENT_STATUSES)


def is_mistake(error: Exception) -> bool:
    """Tell whether an error is a bug (TypeError, KeyError, ...) rather than a failure of a server or disk."""
    return type(error).__module__ == "builtins" and not isinstance(error, (OSError, NotImplementedError))


class Backoff:
    """Exponential backoff with jitter for one operation; its time budget starts at construction.

    Parameters
    ----------
    budget_s
        Time budget (s); None for `retry_s()`.
    allowed_s
        Time that the operation takes if nothing fails, on top of the budget (s).
    """

    def __init__(self, *, budget_s: float | None = None, allowed_s: float = 0.0) -> None:
        self._started = time.monotonic()
        self.budget_s = retry_s() if budget_s is None else budget_s
        self._allowed_s = allowed_s
        self.failures = 0
        """Failed attempts: the calls of `wait_s`."""

    @property
    def elapsed_s(self) -> float:
        """Time since the first attempt began (s)."""
        return time.monotonic() - self._started

    def wait_s(self, *, at_least_s: float = 0.0) -> float | None:
        """Return the wait after an attempt that failed with a transient error; it never exceeds the budget.

        Parameters
        ----------
        at_least_s
            Minimum that the server requests (s): HTTP's `Retry-After`.

        Returns
        -------
        Seconds; None to give up: the budget is spent, or the server requests a longer wait.
        """
        longest = _longest_wait_s(self.failures)
        self.failures += 1
        left = self.budget_s + self._allowed_s - self.elapsed_s
        if left <= 0 or at_least_s > left:
            return None
        # Jitter spreads the retries of many workers.
        return min(max(longest * random.uniform(0.5, 1), at_least_s), left)  # noqa: S311  # not for cryptography


def _longest_wait_s(failures: int) -> float:
    return float(min(_FIRST_WAIT_S * 2 ** min(failures, 32), _LONGEST_WAIT_S))
