"""Dinucleotide shuffles: random sequences with exactly the dinucleotides of another.

Belongs here: the shuffle. Does not: what is put into it (`builders.attribution.importance`).
"""

import numpy as np
from numpy.typing import NDArray


def dinucleotide_shuffle(sequence: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a sequence with the same first and last letter and the same count of every pair of neighbours.

    Letters are the nodes of a graph and pairs its edges; a sequence is a walk that takes each edge once. All walks are
    drawn alike (Altschul and Erickson 1985, Mol Biol Evol 2:526): of each letter but the last of the sequence one edge
    is chosen to be left by in the end, again and again until these lead to that last letter from everywhere; the other
    edges are put in random order.

    Parameters
    ----------
    sequence
        ASCII, shape `(length,)`, uint8.

    Returns
    -------
    Of the same shape.
    """
    if len(sequence) < 3:
        return sequence.copy()
    letters, codes = np.unique(sequence, return_inverse=True)
    following = [codes[1:][codes[:-1] == letter] for letter in range(len(letters))]
    last = int(codes[-1])
    exits = _last_exits(following, last, rng)
    queues = []
    for letter, after in enumerate(following):
        order = rng.permutation(len(after))
        if letter in exits:  # the chosen edge comes last
            order = np.append(order[order != exits[letter]], exits[letter])
        queues.append(iter(after[order].tolist()))
    walk = np.empty_like(codes)
    walk[0] = here = int(codes[0])
    for place in range(1, len(codes)):
        walk[place] = here = next(queues[here])
    return letters[walk]


def _last_exits(following: list[NDArray[np.int64]], last: int, rng: np.random.Generator) -> dict[int, int]:
    """Choose an edge of each letter but `last`, so that following them leads to `last` from everywhere."""
    while True:
        exits = {
            letter: int(rng.integers(len(after)))
            for letter, after in enumerate(following)
            if letter != last and len(after)
        }
        next_of = {letter: int(following[letter][edge]) for letter, edge in exits.items()}
        if all(_leads_to(letter, last, next_of) for letter in next_of):
            return exits


def _leads_to(letter: int, last: int, next_of: dict[int, int]) -> bool:
    for _ in next_of:
        letter = next_of.get(letter, last)
    return letter == last
