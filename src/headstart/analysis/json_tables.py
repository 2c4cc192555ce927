"""Tables in JSON and JSON Lines: records, columns, or numbers by model and dataset."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from headstart.analysis.grid import Grid
from headstart.analysis.names import is_known_dataset
from headstart.errors import TableError
from headstart.spec.labels import role

__all__ = ["read_json"]

# Names of columns that a JSON of columns has, and one of models does not.
NAMES_OF_COLUMNS = ("model", "dataset", "setting", "accuracy", "example")


def read_json(text: str, where: str) -> Grid | None:
    """Read JSON or JSON Lines; None where it is neither and does not look like it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            value = [json.loads(line) for line in lines]
        except ValueError:
            if text.lstrip()[:1] == "{" or re.match(r'\s*\[\s*[\[{"\d]', text):
                raise TableError(f"{where}: invalid JSON ({error})", code="table.json") from error
            return None
        if not value or not all(isinstance(one, dict) for one in value):
            return None
    except RecursionError as error:
        raise TableError(f"{where}: invalid JSON (too deep)", code="table.json") from error
    return _of_json(value, where)


def _of_json(value: Any, where: str) -> Grid:
    if isinstance(value, list):
        return _records(value, where)
    if not isinstance(value, dict):
        raise _no_table(where)
    keys = {str(key).lower() for key in value}
    if keys >= {"columns", "data"} and isinstance(value["data"], list):
        return _records(_of_split(value), where)
    lists = [one for one in value.values() if isinstance(one, list) and one]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        # {"results": [records]}, with remarks beside it.
        return _records(lists[0], where)
    if value and len(lists) == len(value):
        return _columns(value, where)
    if value and all(isinstance(one, dict) for one in value.values()):
        if keys & set(NAMES_OF_COLUMNS):
            # As pandas writes a table: column -> row -> cell.
            labels = dict.fromkeys(row for column in value.values() for row in column)
            return _records([{c: value[c].get(row) for c in value} for row in labels], where)
        inner = [{str(key).lower() for key in one} for one in value.values()]
        if all(len(one & set(NAMES_OF_COLUMNS)) > 1 for one in inner):
            # Row -> column -> cell.
            return _records(list(value.values()), where)
        return _nested(value, where)
    if len(value) == 1:
        return _of_json(next(iter(value.values())), where)
    raise _no_table(where)


def _of_split(value: Mapping[str, Any]) -> list[Any]:
    """Return the records of columns, data and perhaps names of rows, as pandas writes them."""
    names = list(map(str, value["columns"]))
    rows = [dict(zip(names, r, strict=False)) if isinstance(r, list) else r
            for r in value["data"]]  # fmt: skip
    index = value.get("index")
    if (
        isinstance(index, list)
        and len(index) == len(rows)
        and all(isinstance(one, str) for one in index)
        and all(isinstance(row, dict) and "" not in row for row in rows)
    ):
        rows = [{"": name, **row} for name, row in zip(index, rows, strict=True)]
    return rows


def _columns(value: Mapping[str, list[Any]], where: str) -> Grid:
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{where}: columns of different lengths: {lengths}",
                         code="table.json_lengths", lengths=lengths)  # fmt: skip
    n = next(iter(lengths.values()))
    return _records([{name: column[i] for name, column in value.items()} for i in range(n)], where)


def _records(rows: list[Any], where: str) -> Grid:
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise _no_table(where)
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [{str(name): cell for name, cell in row.items()} for row in rows]
    nested = [name for name in names if any(isinstance(row.get(name), dict) for row in cells)]
    if nested and len(nested) < len(names):
        # {"model": "resnet50", "results": {"pets": 92.1}}: a column per key within.
        cells = [_flat(row, nested) for row in cells]
        names = list(dict.fromkeys(name for row in cells for name in row))
    held = [name for name in names if any(isinstance(row.get(name), dict) for row in cells)]
    if nested and held:
        raise _no_table(where)
    body = pd.DataFrame(
        [[_cell(row.get(name)) for name in names] for row in cells],
        index=range(1, len(rows) + 1), columns=range(len(names)), dtype=object,
    )  # fmt: skip
    return Grid([(name,) for name in names], body, "json", [])


def _flat(row: Mapping[str, Any], nested: list[str]) -> dict[str, Any]:
    flat = {name: cell for name, cell in row.items() if name not in nested}
    for name in nested:
        if isinstance(row.get(name), dict):
            flat |= {str(key): cell for key, cell in row[name].items()}
        elif row.get(name) is not None:
            flat[name] = row[name]
    return flat


def _cell(value: Any) -> Any:
    """Return a cell; what a list holds stays, as scores of an example."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _nested(value: Mapping[str, Any], where: str) -> Grid:
    """Read model -> dataset -> number, or model -> setting -> dataset -> number.

    Which of the two outer levels has the datasets, the names say; models where neither is known.
    """
    if all(role(str(name)) for name in value):
        value = _models_first(value)
    paths: dict[tuple[str, ...], dict[str, Any]] = {}
    depths = set()
    for model, inner in value.items():
        for path, cell in _leaves(inner):
            depths.add(len(path))
            paths.setdefault(path, {})[str(model)] = cell
    if len(depths) != 1 or not paths or not 1 <= next(iter(depths)) <= 2:
        raise _no_table(where)
    models = [str(name) for name in value]
    corner = "dataset" if all(map(is_known_dataset, models)) else "model"
    blank = ("",) * (next(iter(depths)) - 1)
    rows = [[model, *(cells.get(model) for cells in paths.values())] for model in models]
    body = pd.DataFrame(rows, index=range(1, len(rows) + 1), columns=range(len(paths) + 1),
                        dtype=object)  # fmt: skip
    return Grid([(*blank, corner), *paths], body, "json", [])


def _models_first(value: Mapping[str, Any]) -> dict[str, Any]:
    """Turn setting -> model -> dataset to model -> setting -> dataset."""
    turned: dict[str, Any] = {}
    for setting, inner in value.items():
        for model, cells in inner.items():
            turned.setdefault(str(model), {})[str(setting)] = cells
    return turned


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, str(key)))]


def _no_table(where: str) -> TableError:
    return TableError(
        f"{where}: JSON without a table: expected a list of records, lists per column, or "
        "model -> dataset -> number",
        code="table.json_shape",
    )
