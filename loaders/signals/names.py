"""Names of signals: one a column of all sets, and the pairs of strands among them.

Belongs here: pure functions of names. Does not: reading (`loaders.signals.rows`).
"""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from catalog.runtime.tables import listed


def signal_names(channels: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the channels of several sets, one set after the other: `channel`, or `set/channel` if two sets have one.

    Parameters
    ----------
    channels
        Names of channels by feature set.
    """
    counts = Counter(name for names in channels.values() for name in names)
    return [name if counts[name] == 1 else f"{own}/{name}" for own, names in channels.items() for name in names]


def require_signals(names: Sequence[str], there: Sequence[str]) -> list[str]:
    """Give back the names of signals, each once; ValueError if one is not there, or named twice."""
    unknown = [name for name in names if name not in there]
    if unknown:
        near = difflib.get_close_matches(unknown[0], there, n=3)
        raise ValueError(
            f"there is no signal {listed(unknown)}; the store has {listed(there) or 'none'}"
            + (f"; did you mean {' or '.join(near)}?" if near else "; build it, or name one of these")
        )
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"the signals {listed(doubled)} are named twice; name each once")
    return list(names)


def stranded_partners(stranded: Mapping[str, str] | None, names: Sequence[str]) -> dict[int, tuple[int, float]]:
    """Find for each signal of a stranded pair the other one, which takes its place in a reversed window.

    Parameters
    ----------
    stranded
        The signal of the minus strand by that of the plus strand; `-NAME` where it is stored as negative values.
    names
        Of all columns.

    Returns
    -------
    By column: the other's column, and the sign that it is multiplied by, so that each keeps its own sign.

    Raises
    ------
    ValueError
        If there is no such signal, or one is in two pairs.
    """
    partners: dict[int, tuple[int, float]] = {}
    for plus, written in (stranded or {}).items():
        is_negative = written.startswith("-") and written not in names
        minus = written[1:] if is_negative else written
        one, other = (names.index(name) for name in require_signals([plus, minus], names))
        taken = {one, other} & partners.keys()
        if taken:
            raise ValueError(
                f"{names[min(taken)]} is in two pairs of `stranded=`; name each signal once, as in plus=minus"
            )
        sign = -1.0 if is_negative else 1.0
        partners[one], partners[other] = (other, sign), (one, sign)
    return partners


def refuse_signs(one: str, other: str, sign: float, values: Sequence[float], others: Sequence[float]) -> None:
    """Refuse a stranded pair whose values have other signs than were named; mixed signs are left to the caller.

    Parameters
    ----------
    sign
        What each is multiplied by in the other's place.
    values, others
        Least and largest value of each.

    Raises
    ------
    ValueError
        If one is never negative and the other never positive, and they are to change places as they are; or if neither
        is ever negative, and they are to change sign.
    """
    signs = [_sign(*values), _sign(*others)]
    if 0 in signs or signs[0] * signs[1] == sign:
        return
    how = "one of them as negative values" if sign > 0 else "both from 0 up, or both from 0 down"
    mend = "PLUS=-MINUS" if sign > 0 else "PLUS=MINUS"
    raise ValueError(
        f"{one} and {other} are stored {how}, and would have another sign in each other's place; write that pair of "
        f"`stranded=` as {mend}"
    )


def _sign(least: float, largest: float) -> int:
    """Tell whether values are all of one sign: 1 from 0 up, -1 from 0 down; 0 for both signs or nothing but zeros."""
    return 0 if least < 0 < largest else 1 if largest > 0 else -1 if least < 0 else 0
