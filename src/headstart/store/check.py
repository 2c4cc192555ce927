"""Whether a store is sound: records, predictions and digests, each looked at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from headstart.errors import StoreError
from headstart.spec import Failure, Measurement, Result, Selection, Trial
from headstart.store import schema
from headstart.store.database import ResultStore, columns_of
from headstart.store.reading import parse_record

__all__ = ["StoreProblem", "check_store"]

RECORDS: Mapping[sa.Table, type[BaseModel]] = {
    schema.measurements: Measurement,
    schema.selections: Selection,
    schema.trials: Trial,
    schema.failures: Failure,
}


@dataclass(frozen=True)
class StoreProblem:
    """Something that is wrong with a store.

    Parameters
    ----------
    kind
        ``record`` (cannot be read), ``contradiction`` (columns and record differ), ``duplicate``
        (one trial under two keys), ``missing`` or ``damaged`` (predictions), ``orphan`` (a file of
        predictions that no result names).
    name
        The key of a trial, or the name of a file.
    text
        What is wrong, for a person.
    """

    kind: str
    name: str
    text: str


def check_store(store: ResultStore) -> Iterator[StoreProblem]:
    """Yield all that is wrong with a store; nothing is changed."""
    named, first = set[str](), dict[str, str]()
    superseded = {(row["trial"], row["generation"]) for row in store.rows(schema.superseded)}
    files = store.prediction_files()
    for row in store.rows(schema.results):
        named.add(row["predictions_file"])
        counts = (row["key"], row["generation"]) not in superseded
        yield from _on_record(store, row, first if counts else {})
        yield from _on_predictions(store, row, files)
    for table, kind in RECORDS.items():
        for row in store.rows(table):
            try:
                parse_record(kind, row["record"], store.name)
            except StoreError as error:
                yield StoreProblem("record", row[schema.trial_key(table).name], str(error))
    for name in sorted(files - named):
        yield StoreProblem("orphan", name, "no result names it")


def _on_record(
    store: ResultStore, row: dict[str, Any], first: dict[str, str]
) -> Iterator[StoreProblem]:
    """Look at a result; `first` has the key of the first row of each trial."""
    try:
        result = parse_record(Result, row["record"], store.name)
    except StoreError as error:
        yield StoreProblem("record", row["key"], str(error))
        return
    wrong = [name for name, value in columns_of(result).items() if row[name] != value]
    if wrong:
        text = f"{', '.join(wrong)} of the row and of its record differ"
        yield StoreProblem("contradiction", row["key"], text)
    # A row has the key that the headstart which stored it gave; another may give another.
    other = first.setdefault(result.trial.key, row["key"])
    if other != row["key"]:
        text = f"{result.trial.title} is stored under {other[:12]}, too"
        yield StoreProblem("duplicate", row["key"], text)


def _on_predictions(
    store: ResultStore, row: dict[str, Any], files: set[str]
) -> Iterator[StoreProblem]:
    file = row["predictions_file"]
    if file not in files:
        yield StoreProblem("missing", file, f"no predictions of {row['key'][:12]}")
        return
    try:
        store.predictions_file(row["key"], row["generation"])
    except StoreError as error:
        yield StoreProblem("damaged", file, str(error))
