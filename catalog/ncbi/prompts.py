"""Prompts: what a language model is told of a gene before it reads the gene's bins.

Belongs here: the templates, how one is chosen, writing the prompt of one gene. Does not: reading annotations and
finding those of a gene (`catalog.ncbi.annotations`), tokens and truncation (`model.language`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

Template = Literal["plain", "paper"]
Missing = Literal["omit", "mark"]

_LONGEST_CELL_TYPE = 200
_UNKNOWN = "not recorded"
_END = "# Data:"


class _Line(NamedTuple):
    """How one field of an annotation is written."""

    field: str
    label: str
    separator: str | None = None
    """Between values that NCBI's files join by `|`; None for a field of one value."""


class _Form(NamedTuple):
    """A template."""

    task: str
    """`{cells}` stands for the cell type, with a blank and `in` before it."""
    cell_type: str | None
    """That of the task unless another is named."""
    lines: tuple[_Line, ...]
    keeps_empty: bool
    """Whether a field that is not known leaves its label behind, or no line."""


_FORMS: Mapping[Template, _Form] = {
    "plain": _Form(
        "Predict how strongly a gene is expressed{cells} from the regulatory activity along the DNA around its start.",
        None,
        (
            _Line("symbol", "Gene symbol"),
            _Line("name", "Full name"),
            _Line("aliases", "Aliases", ", "),
            _Line("designations", "Other designations", "; "),  # which have commas of their own
            _Line("summary", "Summary"),
        ),
        keeps_empty=False,
    ),
    "paper": _Form(
        "Predict the expression of a gene{cells}.",
        "GM12878 lymphoblastoid cells",
        (
            _Line("symbol", "Official Gene Symbol"),
            _Line("name", "Official Gene Full Name"),
            _Line("aliases", "Other Gene Aliases", "|"),
            _Line("designations", "Other Gene Designations", "|"),
            _Line("summary", "Gene NCBI Summary Description"),
        ),
        keeps_empty=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """How prompts are written."""

    template: Template = "plain"
    """`paper`: the seven lines of figure 4 of the GTA paper (arXiv 2410.01858), labels as printed; of its task line we
    know that it ends in the cell type, the words before it are ours. `plain`: shorter labels, and no line for what is
    not known."""
    cell_type: str | None = None
    """Cell type that the task names; None for that of the template: GM12878 lymphoblastoid cells in `paper`, none in
    `plain`."""

    def __post_init__(self) -> None:
        if self.template not in get_args(Template):
            raise ValueError(f"template is one of {', '.join(get_args(Template))}; got {self.template!r}")
        if self.cell_type is not None and not (
            self.cell_type.isprintable() and 0 < len(self.cell_type.strip()) <= _LONGEST_CELL_TYPE
        ):
            raise ValueError(
                f"`cell_type=` is a few words on one line, as in 'K562 cells'; got {self.cell_type[:60]!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """Give what is not the default, so that runs which an earlier version wrote are the same as now."""
        return {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}


_DEFAULTS = asdict(PromptSettings())


def write_prompt(
    annotation: Mapping[str, object], settings: PromptSettings | None = None, *, missing: Missing | None = None
) -> str:
    """Write what is known of one gene as the text that precedes its data; `catalog.ncbi.annotations.prompt` says how.

    Raises
    ------
    ValueError
        If `missing` is none of its values.
    """
    if missing not in (None, *get_args(Missing)):
        raise ValueError(f"missing must be 'omit' (leave the line out) or 'mark' (say so), got {missing!r}")
    settings = settings or PromptSettings()
    form = _FORMS[settings.template]
    cells = settings.cell_type or form.cell_type
    lines = [f"# Task: {form.task.replace('{cells}', f' in {cells.strip()}' if cells else '')}"]
    keeps_empty = form.keeps_empty if missing is None else missing == "mark"
    for line in form.lines:
        text = _one_line(annotation.get(line.field), line.separator)
        if text or keeps_empty:
            lines.append(f"# {line.label}: {text or (_UNKNOWN if missing == 'mark' else '')}".rstrip())
    return "\n".join([*lines, _END])


def _one_line(value: object, separator: str | None) -> str:
    text = str(value or "")
    return " ".join((text if separator is None else text.replace("|", separator)).split())
