"""A haplotype in plain Python: slow and obvious, the oracle of `builders.overlays`."""

from collections.abc import Sequence

from builders.overlays.haplotype import Edit


class NaiveHaplotype:
    """Edits that do not overlap, applied to a text one base at a time."""

    def __init__(self, reference: str, edits: Sequence[Edit]) -> None:
        self.letters: list[str] = []
        self.lifted: list[int] = []
        position = 0
        for start, removed, added in edits:
            for base in reference[position:start]:
                self.lifted.append(len(self.letters))
                self.letters.append(base)
            begin = len(self.letters)
            self.letters.extend(added.decode())
            for k in range(removed):
                self.lifted.append(min(begin + k, len(self.letters)))
            position = start + removed
        for base in reference[position:]:
            self.lifted.append(len(self.letters))
            self.letters.append(base)

    def lift(self, position: int) -> int:
        if position < 0:
            return position
        over = position - len(self.lifted)
        return len(self.letters) + over if over >= 0 else self.lifted[position]

    def window(self, centre: int, left: int, right: int) -> str:
        """Bases `[centre - left, centre + right)` of the haplotype, N outside."""
        places = range(centre - left, centre + right)
        return "".join(self.letters[place] if 0 <= place < len(self.letters) else "N" for place in places)
