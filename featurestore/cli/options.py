"""Options that verbs of several modules and packages share.

Belongs here: their names and help texts, and reading a list. Does not: verbs.
"""

from typing import Annotated

import typer

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="The store: a local path, s3://bucket/prefix, or any fsspec URL.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def names_in(text: str | None) -> tuple[str, ...] | None:
    """Read comma-separated names; None, for all, where the option was left out."""
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("an empty list was given; leave the option out for all, or name some, comma-separated")
    return names
