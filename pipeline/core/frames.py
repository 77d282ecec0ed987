"""Read a user's table, CSV or Parquet, as a data frame."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError, one_line

SUFFIXES = (".csv", ".parquet")


def read(path: Path, key: str, extra_fields: str = "") -> pd.DataFrame:
    """Read a table; every field of a CSV file is a text, and an empty one is "".

    Args:
        path: the file.
        key: its key in params.yaml, for messages.
        extra_fields: what a row with more fields than the header should do, for messages.

    Raises:
        InputError: the file is missing, is no .csv or .parquet file, or cannot be read.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: should be a .csv or .parquet file")
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path)
            rows.validate(full=True)  # finds invalid UTF-8 now, not at its first use
            # Ignore pandas' metadata: its types may differ from the columns' types.
            whole: pd.DataFrame = rows.to_pandas(ignore_metadata=True)
            return whole
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file ({key})") from None
    except (OSError, ValueError, pa.ArrowException) as error:  # pandas raises ValueErrors
        file_type = path.suffix[1:]
        raise InputError(f"{path}: cannot be read as {file_type}: {one_line(error)}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes extra fields an index
        problem = f"{path}: its rows have more fields than its header"
        raise InputError(f"{problem}; {extra_fields}" if extra_fields else problem)
    return frame
