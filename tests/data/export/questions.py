"""Answers the questions of docs/sql.md by DuckDB over the Parquet files of an export, and reads its files by pyarrow.

Arguments: the document, the folder with the Parquet files, the folder with the CSV files. Prints a JSON object:
the answers as CSV by number, and what the programs read of each view.
"""

import datetime
import json
import math
import pathlib
import re
import sys

import duckdb
import pyarrow.csv
import pyarrow.parquet

document, parquet, csv = map(pathlib.Path, sys.argv[1:])
manifest = json.loads((parquet / "manifest.json").read_text())
views = [view["view"] for view in manifest["views"]]

connection = duckdb.connect()
connection.execute("set timezone = 'UTC'")
connection.execute("create schema reading")
# What DuckDB lacks of PostgreSQL.
connection.execute("create macro to_char(instant, format) as strftime(instant, '%Y-%m-%d')")
for view in views:
    connection.execute(f"create view reading.{view} as from read_parquet('{parquet}/{view}-*.parquet')")


def cell(value):
    """A value as PostgreSQL writes it to CSV."""
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isinf(value):
            return "Infinity"
        return str(int(value)) if value == int(value) and abs(value) >= 1000 else f"{value:g}"
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00")
    return str(value)


answers = {}
sections = re.findall(r"\n### (\d+)\. .*?```sql\n(.*?)```", document.read_text(), re.DOTALL)
for number, sql in sections:
    # A word of DuckDB, unless it is part of AT TIME ZONE.
    sql = re.sub(r"\bat\b(?! time zone)", '"at"', sql)
    try:
        rows = connection.execute(sql).fetchall()
        answers[number] = "".join(",".join(map(cell, row)) + "\n" for row in rows)
    except duckdb.Error as error:
        answers[number] = f"error: {error}"

read = {}
for view in views:
    files = sorted(parquet.glob(f"{view}-*.parquet"))
    tables = [pyarrow.parquet.read_table(file) for file in files]
    metadata = pyarrow.parquet.read_metadata(files[0])
    columns = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)] if metadata.num_row_groups else []
    texts = sorted(csv.glob(f"{view}-*.csv"))
    read[view] = {
        "arrow_rows": sum(table.num_rows for table in tables),
        "types": {field.name: str(field.type) for field in tables[0].schema},
        "compression": sorted({column.compression for column in columns}),
        "has_dictionaries": any(column.has_dictionary_page for column in columns),
        "duckdb_rows": connection.execute(f"select count(*) from reading.{view}").fetchone()[0],
        "csv_rows_of_duckdb": connection.execute(
            f"select count(*) from read_csv('{csv}/{view}-*.csv', header = true, all_varchar = true)"
        ).fetchone()[0],
        "csv_rows_of_arrow": sum(
            pyarrow.csv.read_csv(text, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)).num_rows
            for text in texts
        ),
    }

print(json.dumps({"answers": answers, "read": read}))
