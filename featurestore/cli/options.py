"""Options that verbs of several modules and packages share.

Belongs here: their names and help texts, and reading a list. Does not: verbs.
"""

from typing import Annotated

import typer

from featurestore.store import Store

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="The store: a local path, s3://bucket/prefix, or any fsspec URL.")
]
FeatureSetName = Annotated[
    str | None,
    typer.Option("--feature-set", metavar="NAME", help="Feature set (`featurestore info`); needed if several."),
]
OldSet = Annotated[str | None, typer.Option("--set", hidden=True, help="The name that --feature-set once had.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def chosen_set(store: Store, *names: str | None) -> str:
    """Return the feature set that was named, by whichever option, or the only one of the store."""
    named = next((name for name in names if name is not None), None)
    if named is not None:
        return named
    there = store.feature_sets()
    if len(there) != 1:
        raise ValueError(
            f"{store.url} has {len(there)} feature sets ({', '.join(there) or 'none'}); say which: `feature_set=NAME`"
        )
    return there[0]


def names_in(text: str | None) -> tuple[str, ...] | None:
    """Parse comma-separated names, each once; None, for all, if the option is absent."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ValueError("an empty list was given; leave the option out for all, or name some, comma-separated")
    return names


def typed_line(ctx: typer.Context) -> str:
    """Return the command line as it was typed; empty where a verb was called otherwise."""
    line = ctx.find_root().obj
    return line if isinstance(line, str) else ""
