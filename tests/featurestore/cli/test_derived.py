"""A field of a request is an option of a verb: its flag, its help, its default and its type."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from featurestore.cli.derived import takes
from featurestore.cli.options import names_in


@dataclass(frozen=True, kw_only=True)
class Request:
    """One field of each kind."""

    feature_set: str = field(default="motif", metadata={"old_flags": ("--features",)})
    """Name of the feature set."""
    offsets: tuple[int, ...] = (0,)
    """Phases (bp)."""
    contigs: tuple[str, ...] | None = None
    """Contigs; by default all."""
    settings: Mapping[str, object] = field(
        default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE", "old_flags": ("--setting",)}
    )
    """What the extractor lets one set."""
    storage_options: Mapping[str, str] | None = field(default=None, metadata={"flag": "--storage-option"})
    """For the store."""
    precision: Literal["fp32", "bf16"] = "fp32"
    refine: bool = False
    baselines: bool = True
    weights: Path | None = None
    workers: int | None = None
    """Processes."""
    hidden_here: int = 3

    def __post_init__(self) -> None:
        if self.workers == 0:
            raise ValueError("at least 1 worker")


def run(*argv: str) -> tuple[Any, Any]:
    app = typer.Typer(rich_markup_mode=None)
    seen: list[Request] = []

    @app.command()
    @takes(Request, without=("hidden_here",), old_settings=("projector",))
    def verb(
        store: Annotated[str, typer.Argument(metavar="STORE")],
        request: Request,
        as_json: Annotated[bool, typer.Option("--json")] = False,
    ) -> None:
        """Do it."""
        assert store == "s"
        print(as_json)
        seen.append(request)

    done = CliRunner().invoke(app, list(argv))
    return (seen[0] if seen else None), done


def test_nothing_given_is_the_dataclass_by_default() -> None:
    assert run("s")[0] == Request()


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        (["--feature-set", "a"], {"feature_set": "a"}),
        (["--features", "a"], {"feature_set": "a"}),
        (["--offsets", "0,2048"], {"offsets": (0, 2048)}),
        (["--contigs", "chr1, chr2"], {"contigs": ("chr1", "chr2")}),
        (["--set", "a=1", "--set", "b=x=y"], {"settings": {"a": "1", "b": "x=y"}}),
        (["--setting", "a=1"], {"settings": {"a": "1"}}),
        (["--projector", "p", "--set", "a=1"], {"settings": {"projector": "p", "a": "1"}}),
        (["--storage-option", "anon=true"], {"storage_options": {"anon": "true"}}),
        (["--precision", "bf16"], {"precision": "bf16"}),
        (["--refine", "--no-baselines"], {"refine": True, "baselines": False}),
        (["--weights", "a/b", "--workers", "2"], {"weights": Path("a/b"), "workers": 2}),
    ],
)
def test_an_option_sets_its_field(argv: list[str], changed: dict[str, Any]) -> None:
    assert run("s", *argv)[0] == Request(**changed)


def test_options_of_the_verb_itself_stay() -> None:
    assert run("s", "--json")[1].stdout == "True\n"


def test_the_help_shows_documentation_defaults_and_no_old_flag() -> None:
    shown = run("--help")[1].stdout
    for part in ("STORE", "--feature-set", "Name of the feature set.", "[default: motif]", "NAME=VALUE", "Do it."):
        assert part in shown
    assert "--features" not in shown
    assert "--projector" not in shown
    assert "hidden-here" not in shown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--offsets", "a"], r"`offsets=` is \[int, ...\]; got 'a'"),
        (["--precision", "fp8"], r"`precision=` is fp32\|bf16; got 'fp8'"),
        (["--set", "a"], "NAME=VALUE"),
        (["--workers", "0"], "at least 1 worker"),
    ],
)
def test_what_does_not_fit_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise run("s", *argv)[1].exception


def test_a_name_in_a_list_counts_once() -> None:
    assert names_in("chr2, chr1,,chr2") == ("chr2", "chr1")
    assert names_in(None) is None
