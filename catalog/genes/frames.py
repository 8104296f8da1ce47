"""Tables in memory: polars, pandas, pyarrow, and any other that narwhals knows, as polars.

Belongs here: the conversion at the doors that take a table. Does not: tables in files (`catalog.runtime.tables`).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from catalog.runtime.tables import listed

if TYPE_CHECKING:
    import narwhals.stable.v1 as nw
    from narwhals.stable.v1.typing import IntoFrame

Table: TypeAlias = "pl.DataFrame | IntoFrame"
"""What such a door takes."""


def as_polars(table: Table, schema: pl.Schema | None = None, *, needs: Iterable[str] = ()) -> pl.DataFrame:
    """Convert a table; one of polars stays as it is.

    Parameters
    ----------
    schema
        Types of the columns of that name, since pandas has whole numbers with gaps as floats.
    needs
        Columns that must be there.

    Raises
    ------
    TypeError
        If it is no table.
    ValueError
        If a column is missing, or cannot have the type of the schema.
    """
    frame = table if isinstance(table, pl.DataFrame) else _converted(table, schema or pl.Schema())
    missing = [name for name in needs if name not in frame.columns]
    if missing:
        raise ValueError(
            f"the table lacks the columns {listed(missing)}: it has {listed(frame.columns)}; rename or add them (an "
            "index of pandas is no column: `reset_index()` makes it one)"
        )
    return frame


def _converted(table: Table, types: pl.Schema) -> pl.DataFrame:
    import narwhals.stable.v1 as nw

    try:
        frame: Any = nw.from_native(table)
    except TypeError as error:
        raise TypeError(
            f"a table must be a data frame of polars, pandas or another library that narwhals knows, got a "
            f"{type(table).__name__}"
        ) from error
    whole = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    return pl.DataFrame([_column(whole[name], types.get(name)) for name in whole.columns])


def _column(values: "nw.Series[Any]", dtype: pl.DataType | None) -> pl.Series:
    # By way of Python, since polars reads texts of pandas only where pyarrow is installed.
    known = [None if is_null else value for value, is_null in zip(values, values.is_null(), strict=True)]
    column = pl.Series(values.name, known, strict=False)
    if dtype is None or column.dtype == dtype:
        return column
    cast = column.cast(dtype, strict=False)
    is_kept = cast.is_null() == column.is_null()
    if dtype.is_integer() and column.dtype.is_float():
        is_kept &= (cast.cast(pl.Float64) == column).fill_null(value=True)
    if not is_kept.all():
        raise ValueError(
            f"column {values.name!r} must hold {dtype}, and holds {column.filter(~is_kept)[0]!r}; mend or convert it"
        )
    return cast
