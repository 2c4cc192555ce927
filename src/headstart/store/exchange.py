"""Stores put together, checked, and as plain files: JSON lines, and predictions with their digests.

Nothing is chosen silently: where two stores have one trial with different numbers, these trials are
listed, and nothing is written.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from headstart.errors import StoreError
from headstart.files import replaced, sha256_file, storage_errors, writable_folder
from headstart.spec import Failure, Measurement, Result, Selection, Trial
from headstart.store import schema
from headstart.store.database import ResultStore, columns_of
from headstart.store.reading import parse_record

__all__ = [
    "Conflict",
    "MergeReport",
    "StoreProblem",
    "check_store",
    "export_store",
    "import_store",
    "merge_stores",
]

FORMAT = 1
INDEX, PREDICTIONS = "store.json", "predictions"
KEY = re.compile(r"[0-9a-f]{1,64}")

RECORDS: Mapping[sa.Table, type[BaseModel]] = {
    schema.measurements: Measurement,
    schema.selections: Selection,
    schema.trials: Trial,
    schema.failures: Failure,
}


@dataclass(frozen=True)
class Conflict:
    """A trial that two stores have different numbers for.

    Accuracies are proportions. Of a trial that is only partly measured they are None, and its title
    is its key.
    """

    key: str
    title: str
    stores: tuple[str, str]
    accuracies: tuple[float | None, float | None]


@dataclass(frozen=True)
class MergeReport:
    """What came of putting stores together.

    `added` are results that are new in the target, `known` those that it has, with the same numbers
    or superseded; `failures` are new failed attempts at trials without a result. If there are
    `conflicts`, nothing was written.
    """

    added: int = 0
    known: int = 0
    failures: int = 0
    conflicts: tuple[Conflict, ...] = ()


@dataclass
class _Standing:
    """What a store has of a trial; numbers are compared by their digests."""

    title: str = ""
    accuracy: float | None = None
    generation: int = 0
    current: str = ""
    superseded: set[str] = field(default_factory=set)
    # Candidate -> numbers, of a trial without a result.
    measured: dict[str, str] = field(default_factory=dict)


def export_store(store: ResultStore, folder: Path) -> dict[str, int]:
    """Write all rows of a store as JSON lines, and all predictions, to a new folder.

    Returns
    -------
    Number of rows of each table.

    Raises
    ------
    StoreError
        There is something in the folder, or predictions are missing or damaged.
    """
    with storage_errors(folder):
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(
                f"cannot export to {folder}: expected a folder that is empty, or not there",
                code="store.export_exists",
                path=str(folder),
            )
    writable_folder(folder / PREDICTIONS)
    counts, digests = dict[str, int](), dict[str, str]()
    # What is superseded comes last: so a trial that is redone meanwhile has one current result.
    for table in schema.GUARDED:
        file, counts[table.name] = folder / f"{table.name}.jsonl", 0
        with replaced(file) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for row in store.rows(table):
                if table is schema.results:
                    found = store.predictions_file(row["key"], row["generation"])
                    name = row["predictions_file"] = f"{row['key']}-{row['generation']}.parquet"
                    with replaced(folder / PREDICTIONS / name) as copy:
                        copy.write_bytes(found.read_bytes())
                lines.write(json.dumps(row) + "\n")
                counts[table.name] += 1
        digests[table.name] = sha256_file(file)
    index = {"format": FORMAT, "rows": counts, "sha256": digests}
    with replaced(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return counts


def import_store(folder: Path, target: ResultStore) -> MergeReport:
    """Put what `export_store` wrote into a store, as `merge_stores` does.

    Raises
    ------
    StoreError
        The folder is no export, or is damaged. Nothing was written.
    """
    with TemporaryDirectory() as temporary:
        source = ResultStore(
            Path(temporary) / "import.db", create=True, predictions=folder / PREDICTIONS
        )
        for table, rows in _exported(folder):
            source.load(table, rows)
        # All of them before the first is copied.
        for row in source.rows(schema.results):
            source.predictions_file(row["key"], row["generation"])
        return merge_stores([source], target, {source.name: str(folder)})


def merge_stores(
    sources: Sequence[ResultStore], target: ResultStore, names: Mapping[str, str] | None = None
) -> MergeReport:
    """Put what stores hold into one; the sources stay as they are.

    What was superseded in one store is superseded in the target, too, and what was superseded in
    the target does not come back. History is copied of trials that the target does not know. A
    result goes before a failure; of a trial that failed in both, both attempts are kept. `names`
    are those of stores in conflicts, where these are not their own.

    Raises
    ------
    StoreError
        A record cannot be read, predictions are missing or damaged, or another process measures one
        of the trials.
    """
    stores = [*sources, target]
    standings = [_standings(store) for store in stores]
    shown = [(names or {}).get(store.name, store.name) for store in stores]
    conflicts = [
        conflict
        for a, b in combinations(range(len(stores)), 2)
        for conflict in _conflicts(standings[a], standings[b], (shown[a], shown[b]))
    ]
    if conflicts:
        return MergeReport(conflicts=tuple(conflicts))
    added = known = failures = 0
    for source, theirs in zip(sources, standings, strict=False):
        # With what came of the sources before.
        ours = _standings(target)
        for key, standing in theirs.items():
            is_new, failed = _transfer(key, standing, ours.get(key), source, target)
            added += is_new
            known += bool(standing.current) and not is_new
            failures += failed
    return MergeReport(added, known, failures)


def _transfer(
    key: str, theirs: _Standing, ours: _Standing | None, source: ResultStore, target: ResultStore
) -> tuple[bool, int]:
    """Copy what is to come of a trial.

    Returns
    -------
    Whether a result that counts came with it; if none is there now, the number of failures.
    """
    rows = [(table, row) for table in schema.GUARDED for row in source.rows(table, key)]
    supersede = False
    if ours:
        supersede = bool(ours.current) and ours.current in theirs.superseded
        if ours.current and not supersede:
            return False, 0
        generation = ours.generation + supersede
        if theirs.current in ours.superseded:
            rows = []
        # They have no key by which one that is there would be known.
        attempts = list(target.rows(schema.failures, key))
        rows = [
            (table, row | {"generation": generation} if "generation" in row else row)
            for table, row in rows
            if table is not schema.superseded
            and row.get("generation", theirs.generation) == theirs.generation
            and (table is not schema.failures or row not in attempts)
        ]
    files = {
        row["generation"]: source.predictions_file(
            key, theirs.generation if ours else row["generation"]
        )
        for table, row in rows
        if table is schema.results
    }
    before = ours.generation if ours else 0
    target.adopt(key, rows, files, generation=before, supersede=supersede)
    failures = 0 if theirs.current else sum(table is schema.failures for table, _ in rows)
    return bool(theirs.current and files), failures


def _conflicts(
    a: dict[str, _Standing], b: dict[str, _Standing], names: tuple[str, str]
) -> Iterator[Conflict]:
    for key in a:
        if key not in b:
            continue
        one, other = a[key], b[key]
        if one.current in other.superseded or other.current in one.superseded:
            continue
        differ = bool(one.current and other.current) and one.current != other.current
        if not (one.current or other.current):
            both = one.measured.keys() & other.measured.keys()
            differ = any(one.measured[name] != other.measured[name] for name in both)
        if differ:
            title = one.title or other.title or key
            yield Conflict(key, title, names, (one.accuracy, other.accuracy))


def _standings(store: ResultStore) -> dict[str, _Standing]:
    """Read what a store has of each trial."""
    found: dict[str, _Standing] = {}
    for row in store.rows(schema.superseded):
        found.setdefault(row["trial"], _Standing()).generation += 1
    for row in store.rows(schema.results):
        standing = found.setdefault(row["key"], _Standing())
        result = parse_record(Result, row["record"], store.name)
        chosen = result.selection.chosen if result.selection else {}
        numbers = _digest([result.metrics, result.n_test, chosen])
        if row["generation"] < standing.generation:
            standing.superseded.add(numbers)
        else:
            standing.title, standing.accuracy = result.trial.title, result.accuracy
            standing.current = numbers
    for row in store.rows(schema.measurements):
        standing = found.setdefault(row["trial"], _Standing())
        if row["generation"] == standing.generation and not standing.current:
            measurement = parse_record(Measurement, row["record"], store.name)
            standing.measured[row["candidate"]] = _digest(measurement.curve)
    for table in (schema.selections, schema.failures):
        for row in store.rows(table):
            found.setdefault(row["trial"], _Standing())
    return found


def _digest(numbers: Any) -> str:
    """SHA-256 of numbers, infinite ones among them."""
    return sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def _exported(folder: Path) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    """Yield the tables of an export with their rows, which are checked: a stranger wrote them."""
    try:
        with storage_errors(folder / INDEX, reading=True):
            index = json.loads((folder / INDEX).read_bytes())
        # Those of an earlier headstart have no failures.
        tables = [t for t in schema.GUARDED if t is not schema.failures or t.name in index["rows"]]
        expected = {table.name: str(index["sha256"][table.name]) for table in tables}
        known = index["format"] == FORMAT
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, INDEX) from error
    if not known:
        raise _damaged(folder, INDEX)
    for table in tables:
        file = folder / f"{table.name}.jsonl"
        if sha256_file(file) != expected[table.name]:
            raise _damaged(folder, file.name)
        rows = []
        with storage_errors(file, reading=True), file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    rows.append(_checked(table, json.loads(line)))
                except (ValueError, TypeError) as error:
                    raise _damaged(folder, f"{file.name}, line {number}") from error
        yield table, rows


def _checked(table: sa.Table, row: Any) -> dict[str, Any]:
    """Return a row; ValueError if it is none of this table, or contradicts its record."""
    columns = {column.name: column for column in table.columns if column.name != "id"}
    if not isinstance(row, dict) or row.keys() != columns.keys():
        raise ValueError("other columns")
    for name, column in columns.items():
        kind = column.type.python_type
        if not isinstance(row[name], (int, float) if kind is float else kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    if not KEY.fullmatch(row[schema.trial_key(table).name]):
        raise ValueError("no key")
    if table is schema.failures:
        Failure.model_validate_json(row["record"])
    if table is schema.results:
        own = columns_of(Result.model_validate_json(row["record"]))
        if any(row[name] != value for name, value in own.items()):
            raise ValueError("columns contradict the record")
    return row


def _damaged(folder: Path, part: str) -> StoreError:
    return StoreError(
        f"cannot import {folder}: {part} is missing or damaged; expected a folder that `headstart "
        "store export` wrote",
        code="store.export_damaged",
        path=str(folder),
        part=part,
    )


@dataclass(frozen=True)
class StoreProblem:
    """Something that is wrong with a store, of a trial (its key) or a file.

    `kind` is ``record`` (cannot be read), ``contradiction`` (columns and record differ),
    ``duplicate`` (one trial under two keys), ``missing`` or ``damaged`` (predictions), ``orphan``
    (a file of predictions that no result names).
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
        file = row["predictions_file"]
        named.add(file)
        counts = (row["key"], row["generation"]) not in superseded
        yield from _on_record(store, row, first if counts else {})
        if file not in files:
            yield StoreProblem("missing", file, f"no predictions of {row['key'][:12]}")
            continue
        try:
            store.predictions_file(row["key"], row["generation"])
        except StoreError as error:
            yield StoreProblem("damaged", file, str(error))
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
