"""Trying again when a store fails, for a while, and then saying what is wrong.

Belongs here: which failures may pass, how long to wait for that, and the errors that end the waiting. Does not: the
requests themselves (`featurestore.objects.objects`).

An operation that fails for a reason that may pass (a busy or restarting server, a broken connection, no answer) is
tried again for as many seconds as the environment variable `FEATURESTORE_RETRY_S` says, 120 by default, with waits that
double from 0.1 s to 10 s. A request that has had no answer for an eighth of that time (1 to 15 s) counts as failed.
"""

import errno
import os
import random
import re
import time

RETRY_VARIABLE = "FEATURESTORE_RETRY_S"

MEND = (
    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN, or AWS_PROFILE, or `key`, "
    "`secret` and `token` of the storage options; for a public bucket AWS_SKIP_SIGNATURE=true or `anon`"
)

_DEFAULT_RETRY_S = 120.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_TOKEN_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"}
_BUSY_CODES = {"SlowDown", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"}
_BUSY_STATUSES = {408, 425, 429}
_PERMANENT_STATUSES = {501, 505, 507}

_STATUS = re.compile(r"(?:status code: |http_response_code=')(\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_DETAIL = re.compile(r'(?:message|error): "([^"]+)"')
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_CURL = re.compile(r"CURL error (.*?) *\[")
_KINDS = {
    "Timeout": "no answer in time",
    "Interrupted": "the answer broke off",
    "Request": "the connection broke",
    "Connect": "no connection",
}
_STAYS = "what was committed stays: run the same command again"


class StoreUnavailable(OSError):
    """A store that does not do what it is asked, and of which waiting or the same request again was no cure."""


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
    """Give the waits between the tries of one operation, without jitter (s); they add up to `retry_s()` or more."""
    found: list[float] = []
    while sum(found) < retry_s():
        found.append(min(_FIRST_WAIT_S * 2 ** len(found), _LONGEST_WAIT_S))
    return found


class Backoff:
    """Decides, each time that one operation has failed, whether to try it again.

    Parameters
    ----------
    tried
        What the operation is, for the error: `create s3://bucket/store/zarr.json`.
    allowed_s
        Time that the operation may take if nothing fails, on top of `retry_s()` (s).
    """

    def __init__(self, tried: str, *, allowed_s: float = 0.0) -> None:
        self._tried = tried
        self._started = time.monotonic()
        self._budget_s = retry_s() + allowed_s
        self._failures = 0

    def wait_s(self, error: Exception) -> float:
        """Give how long to wait before the next try (s).

        Raises
        ------
        FileNotFoundError, PermissionError, StoreUnavailable, OSError
            If there is to be no next try: `error`, explained.
        """
        if type(error).__module__ == "builtins" and not isinstance(error, (OSError, NotImplementedError)):
            raise error  # a mistake in a program, not a store that fails
        longest: float = min(_FIRST_WAIT_S * 2**self._failures, _LONGEST_WAIT_S)
        self._failures += 1
        wait = longest * random.uniform(0.5, 1)  # noqa: S311  # so that many workers do not come back at once
        elapsed = time.monotonic() - self._started
        if may_pass(error) and elapsed < self._budget_s:
            return min(wait, self._budget_s - elapsed)
        raise explained(error, self._tried, elapsed_s=elapsed) from error


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    text = str(error)
    status, code = _status(text), _code(text)
    if code in _BUSY_CODES:
        return True
    if status is not None:
        return status in _BUSY_STATUSES or (status >= 500 and status not in _PERMANENT_STATUSES)
    if isinstance(error, (OSError, NotImplementedError)):
        return isinstance(error, (ConnectionError, TimeoutError))
    if type(error).__module__.startswith("obstore") or isinstance(error, ValueError):  # the latter from tensorstore
        return _KIND.search(text) is not None or _CURL.search(text) is not None
    return True  # the error of another library's connection (aiohttp, paramiko): it says no more


def is_outage(error: Exception) -> bool:
    """Tell whether a read through tensorstore failed for want of an answer: it raises ValueError for damage, too."""
    return _status(str(error)) is not None or _CURL.search(str(error)) is not None


def explained(error: Exception, tried: str, *, elapsed_s: float | None = None) -> OSError:
    """Make the error that says what was tried, what came back, and how to mend it.

    Parameters
    ----------
    elapsed_s
        How long it was tried, if that is known (s).
    """
    text = str(error)
    status, code, number = _status(text), _code(text), _errno(error)
    what = f"could not {tried}: {_came_back(error)}"
    if code == "NoSuchBucket":
        return StoreUnavailable(f"{what}; there is no such bucket: make it, or mend the URL")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{what}; no such object")
    if number in _NO_ROOM or status == 507 or code == "QuotaExceeded":
        return OSError(number or errno.ENOSPC, f"{what}; make room there, or raise the quota; {_STAYS}")
    if code == "RequestTimeTooSkewed":
        return PermissionError(f"{what}; this machine's clock is wrong: set it; {_STAYS}")
    if number in _NOT_ALLOWED:
        return PermissionError(number, f"{what}; give this user the right to write and read there; {_STAYS}")
    if _is_refused(error, status, code):
        return PermissionError(f"{what}; credentials are wrong, expired or without that right: {MEND}; {_STAYS}")
    if may_pass(error):
        during = "" if elapsed_s is None else f", tried for {elapsed_s:.1f} s"
        return StoreUnavailable(
            f"{what}{during}; {_STAYS} when the store answers, "
            f"or with a larger {RETRY_VARIABLE} (seconds to try, now {retry_s():g})"
        )
    if number is not None:
        return OSError(number, f"{what}; {_STAYS} when that is mended")
    return StoreUnavailable(f"{what}; check the URL, its endpoint and region, and whether the server can do this")


def _is_refused(error: Exception, status: int | None, code: str | None) -> bool:
    # That address gives a machine in the cloud its credentials; it is asked when there are no others.
    is_without = "169.254.169.254" in str(error)
    return status in (401, 403) or code in _TOKEN_CODES or is_without or isinstance(error, PermissionError)


def _came_back(error: Exception) -> str:
    """Say in a few words what the store, the network or the disk answered."""
    text = str(error)
    status, code, number = _status(text), _code(text), _errno(error)
    if status is not None or code is not None:
        return " ".join(str(part) for part in (status, code) if part is not None)
    if number is not None:
        return os.strerror(number)
    if (curl := _CURL.search(text)) is not None:
        return curl[1]
    kind, detail = _KIND.search(text), _DETAIL.search(text)
    parts = [_KINDS.get(kind[1], kind[1]) if kind else "", detail[1] if detail else ""]
    return (
        ", ".join(part for part in parts if part)
        or f"{type(error).__name__} {text.partition('Debug source')[0]}".strip()
    )


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def _code(text: str) -> str | None:
    found = _CODE.search(text)
    return found[1] if found else None


def _errno(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None
