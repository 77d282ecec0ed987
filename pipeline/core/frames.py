"""Read a user's table, CSV or Parquet, as a data frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.core.errors import InputError, one_line


def read(path: Path, key: str, extra_fields: str = "") -> pd.DataFrame:
    """Read a table; every field of a CSV file is a text, and an empty one is "".

    Args:
        path: the file.
        key: its key in params.yaml, for messages.
        extra_fields: advice for rows with more fields than the header, for messages.

    Raises:
        InputError: the file is missing, is no .csv or .parquet file, or cannot be read.
    """
    with _reading(path, key):
        if path.suffix == ".parquet":
            rows = pq.read_table(path)
            rows.validate(full=True)  # finds invalid UTF-8 now, not at its first use
            # Ignore pandas' metadata: its types may differ from the columns' types.
            whole: pd.DataFrame = rows.to_pandas(ignore_metadata=True)
            return whole
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes extra fields an index
        problem = f"{path}: its rows have more fields than its header"
        raise InputError(f"{problem}; {extra_fields}" if extra_fields else problem)
    return frame


def read_categories(path: Path, key: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read some columns as categories of texts, for tables of many millions of rows.

    Args:
        path: the file.
        key: its key in params.yaml, for messages.
        columns: the columns.

    Raises:
        InputError: as of `read`; or a column is missing, or there are no rows.
    """
    with _reading(path, key):
        is_parquet = path.suffix == ".parquet"
        found = pq.read_schema(path).names if is_parquet else pa_csv.open_csv(path).schema.names
    missing = [name for name in columns if name not in found]
    if missing:
        there = one_line(", ".join(found))
        raise InputError(f"{path}: column {missing[0]!r} is missing; its columns are {there}")
    with _reading(path, key):
        if is_parquet:
            rows = pq.read_table(path, columns=list(columns))
        else:
            texts = dict.fromkeys(columns, pa.string())
            rows = pa_csv.read_csv(
                path,
                convert_options=pa_csv.ConvertOptions(
                    include_columns=list(columns), column_types=texts
                ),
            )
        encoded = [
            pc.fill_null(rows[name].cast(pa.string()), "").dictionary_encode() for name in columns
        ]
        frame: pd.DataFrame = pa.table(encoded, names=list(columns)).to_pandas()
    if frame.empty:
        raise InputError(f"{path}: has no rows")
    return frame


@contextmanager
def _reading(path: Path, key: str) -> Iterator[None]:
    """Refuse another type of file; turn the errors of reading into InputErrors."""
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: should be a .csv or .parquet file")
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file ({key})") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # pandas raises ValueErrors
        file_type = path.suffix[1:]
        raise InputError(f"{path}: cannot be read as {file_type}: {one_line(error)}") from None
