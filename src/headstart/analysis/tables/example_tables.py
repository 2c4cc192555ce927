"""Tables of predictions on single examples -> results, with the predictions kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.analysis.tables.column_names import (
    EXAMPLES,
    SYNONYMS,
    Heading,
    Resolved,
    headings,
    resolve,
)
from headstart.analysis.tables.numerals import parse_numbers
from headstart.analysis.tables.table_layout import ONE_SETTING
from headstart.analysis.tables.text_tables import Grid
from headstart.errors import TableError
from headstart.spec import Prediction, digest, plain_name
from headstart.spec.formatting import count, first_few

__all__ = ["holds_examples", "read_examples"]

# Results, how to get the predictions of each by its key, and how the table was understood.
Examples: TypeAlias = tuple[pd.DataFrame, dict[str, Callable[[], Prediction]], list[str]]
NAMES = ("model", "dataset", "setting", "seed", "metric", "family", "upstream_accuracy")
YES = frozenset({"1", "1.0", "true", "t", "yes", "y", "correct", "right"})
NO = frozenset({"0", "0.0", "false", "f", "no", "n", "incorrect", "wrong"})
SCORE_PREFIXES = ("score_", "scores_", "prob_", "probability_", "logit_", "p_")


@dataclass(frozen=True)
class GivenPrediction(Prediction):
    """Predictions of which the predicted class is given, (n,) int64, and no scores need be."""

    given: npt.NDArray[np.int64]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        return self.given


def holds_examples(grid: Grid, mapping: Mapping[str, str], where: str) -> bool:
    """Return whether a table has a row per example: which one, and what a model made of it."""
    if any(name in mapping for name in ("example", "correct", "prediction", "scores")):
        return True
    columns = headings(grid.header)
    plain = {column.plain for column in columns}
    if plain.isdisjoint(("example", *SYNONYMS["example"])):
        return False
    found = resolve(grid, mapping, where, known=("model", "dataset", *EXAMPLES)).columns
    return "correct" in found or (
        "label" in found and ("prediction" in found or "scores" in found or bool(_scores(columns)))
    )


def read_examples(grid: Grid, mapping: Mapping[str, str], where: str, dataset: str) -> Examples:
    """Read a table with a row per example and model.

    Columns: ``model``, ``dataset``, ``example``, and one of ``correct`` (yes or no), ``prediction``
    with ``label``, or scores (a list in ``scores``, or a column ``score_CLASS`` per class) with
    ``label``; where they are there, ``setting``, ``seed``, ``metric`` (``top-1`` or
    ``mean-per-class``), ``family`` and ``upstream_accuracy``.

    Returns
    -------
    tuple
        One row per model, dataset, setting and seed: accuracy (proportion), n_test, metric, and
        `key`. By it, how to get what was predicted. How the table was understood, a phrase each.

    Raises
    ------
    TableError
        A column is missing, a cell is not understood, an example comes twice, or models disagree on
        the label of an example.
    """
    found = resolve(grid, mapping, where, known=(*NAMES, *EXAMPLES))
    frame = _names(found, dataset)
    notes = [f"predictions on single examples: {count(len(frame), 'row')}"]
    notes += [
        f"no column {name}: all are one {name}, '{frame[name].iloc[0]}'"
        for name in ("dataset", "setting")
        if not found.has(name)
    ]
    frame["_label"], frame["_given"] = _outcomes(found)
    if "label" in found.columns:
        _check_labels(frame, where)
    rows: list[dict[str, Any]] = []
    predictions: dict[str, Callable[[], Prediction]] = {}
    by = [name for name in ("model", "dataset", "setting", "seed", "metric") if name in frame]
    _check_twice(frame, by, where)
    for cell, part in frame.groupby(by, sort=False, dropna=False):
        of = dict(zip(by, cell, strict=True))
        metric = _metric(str(of.get("metric", "top-1")), where)
        part = part.sort_values("_code")
        label, given = (part[name].to_numpy(dtype=np.int64) for name in ("_label", "_given"))
        right = pd.Series(given == label)
        by_class = right.groupby(label).mean()
        accuracy = float((by_class if metric == "mean-per-class" else right).mean())
        key = digest({"predictions": where, **{k: str(v) for k, v in of.items()}})
        predictions[key] = partial(
            GivenPrediction,
            example=part["_code"].to_numpy(dtype=np.int64),
            label=label,
            scores=np.empty((len(part), 0), dtype=np.float32),
            given=given,
        )
        more = {k: part[k].iloc[0] for k in ("family", "upstream_accuracy") if k in part}
        rows.append({**of, "metric": metric, "accuracy": accuracy, "n_test": float(len(part)),
                     "key": key, **more})  # fmt: skip
    return pd.DataFrame(rows), predictions, notes


def _metric(name: str, where: str) -> str:
    if plain_name(name) in ("top1", "accuracy", "top1accuracy"):
        return "top-1"
    if plain_name(name) == "meanperclass":
        return "mean-per-class"
    raise TableError(f"{where}: metric '{name}' of predictions: expected top-1 or mean-per-class",
                     code="table.metric", found=name)  # fmt: skip


def _names(found: Resolved, dataset: str) -> pd.DataFrame:
    """Read which model, dataset and example each row is of; examples get numbers per dataset."""
    n = len(found.body)
    taken: dict[str, Any] = {}
    for name in (*NAMES, "example"):
        if name in found.constants:
            taken[name] = [found.constants[name]] * n
        elif name in found.columns:
            cells = map(found.cells, found.columns[name])
            taken[name] = [
                " ".join(str(c).strip() for c in row) for row in zip(*cells, strict=True)
            ]
    taken.setdefault("dataset", [dataset] * n)
    taken.setdefault("setting", [ONE_SETTING] * n)
    for name in ("model", "example"):
        if name not in taken:
            raise found.no_column(name)
        empty = [row for row, text in zip(found.rows, taken[name], strict=True) if not text]
        if empty:
            raise TableError(
                f"{found.where}, row {empty[0]}: expected a name in column '{name}', found nothing",
                code="table.name_missing", column=name, rows=empty,
            )  # fmt: skip
    frame = pd.DataFrame(taken, index=found.rows)
    for name in ("seed", "upstream_accuracy"):
        if name in frame:
            frame[name] = parse_numbers(frame[name].tolist(), list(frame.index), name).value
    codes = pd.factorize(frame["dataset"] + "\0" + frame["example"], sort=True)[0]
    return frame.assign(_code=codes.astype(np.int64))


def _outcomes(found: Resolved) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the true and the predicted class of each row, (n,) int64 each."""
    labels = _column(found, "label")
    if "correct" in found.columns:
        cells = _column(found, "correct") or []
        right = _yes_or_no(cells, found.rows, found.where)
        classes = pd.factorize(pd.Series(labels or [""] * len(right), dtype=object))[0]
        # Which other class was predicted counts for nothing.
        return classes.astype(np.int64), np.where(right, classes, -1).astype(np.int64)
    if labels is None:
        raise found.no_column("label", "predictions need a column 'label', or one 'correct'")
    predicted = _column(found, "prediction")
    if predicted is None:
        predicted = _highest(found)
        if predicted and all(label.lstrip("-").isdigit() for label in labels):
            labels = [str(int(label)) for label in labels]
    both = pd.factorize(pd.Series(_alike(labels) + _alike(predicted), dtype=object))[0]
    return both[: len(labels)].astype(np.int64), both[len(labels) :].astype(np.int64)


def _alike(classes: list[str]) -> list[str]:
    """Write class numbers one way: a table with a gap has 3.0 for 3."""
    return [text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text for text in classes]


def _column(found: Resolved, name: str) -> list[str] | None:
    places = found.columns.get(name)
    return None if not places else [str(cell).strip() for cell in found.cells(places[0])]


def _yes_or_no(cells: list[str], rows: list[Any], where: str) -> npt.NDArray[np.bool_]:
    low = [cell.lower() for cell in cells]
    bad = [(row, cell) for row, cell, text in zip(rows, cells, low, strict=True)
           if text not in YES and text not in NO]  # fmt: skip
    if bad:
        listed = first_few([f"row {row}: '{cell[:40]}'" for row, cell in bad])
        raise TableError(
            f"{where}: column 'correct': expected 1 or 0 (true or false), found {listed}",
            code="table.cells", count=len(bad),
            cells=[(row, "correct", cell) for row, cell in bad],
        )  # fmt: skip
    return np.array([text in YES for text in low], dtype=bool)


def _scores(columns: Sequence[Heading]) -> dict[int, str]:
    """Find columns of scores: place -> class."""
    found = {}
    for j, column in enumerate(columns):
        prefix = next((p for p in SCORE_PREFIXES if column.name.lower().startswith(p)), None)
        if prefix and column.name[len(prefix) :]:
            found[j] = column.name[len(prefix) :]
    return found if len(found) > 1 else {}


def _highest(found: Resolved) -> list[str]:
    """Return the class of the highest score of each row."""
    rows = found.rows
    if places := found.columns.get("scores"):
        lists, bad = [], []
        for row, cell in zip(rows, found.cells(places[0]), strict=True):
            if (scores := _list(cell)) is None:
                bad.append((row, "scores", str(cell)))
            else:
                lists.append(scores)
        if bad or len({len(scores) for scores in lists}) > 1:
            shown = bad or [(rows[0], "scores", "lists of different lengths")]
            listed = first_few([f"row {row}: {text[:40]}" for row, _, text in shown])
            raise TableError(
                f"{found.where}: column 'scores': expected one list of numbers per row, as "
                f"[0.1, 0.9], found {listed}",
                code="table.cells", count=len(shown), cells=shown,
            )  # fmt: skip
        return [str(int(np.argmax(scores))) for scores in lists]
    classes = _scores(found.headings)
    if not classes:
        what = "predictions need a column correct, prediction or scores"
        raise found.no_column("correct", what)
    parsed = list(map(found.numbers, classes))
    bad_cells = [one for numbers in parsed for one in numbers.bad]
    values = np.column_stack([numbers.value for numbers in parsed])
    if bad_cells or not np.isfinite(values).all():
        raise TableError(f"{found.where}: scores that are not numbers", code="table.cells",
                         count=int((~np.isfinite(values)).sum()),
                         cells=[tuple(one) for one in bad_cells])  # fmt: skip
    names = list(classes.values())
    return [names[i] for i in values.argmax(axis=1)]


def _list(cell: Any) -> list[float] | None:
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            parts = cell.strip("[]() ").replace(",", " ").replace(";", " ").split()
            try:
                cell = [float(part) for part in parts]
            except ValueError:
                return None
    if not isinstance(cell, list | tuple | np.ndarray) or not len(cell):
        return None
    try:
        scores = [float(value) for value in cell]
    except (TypeError, ValueError):
        return None
    return scores if all(np.isfinite(scores)) else None


def _check_labels(frame: pd.DataFrame, where: str) -> None:
    differs = frame.groupby("_code")["_label"].transform("nunique") > 1
    if differs.any():
        first = frame[differs].iloc[0]
        rows = list(frame.index[frame["_code"] == first["_code"]])
        raise TableError(
            f"{where}: example {first['example']} of {first['dataset']} has several labels, rows "
            f"{first_few([*map(str, rows)])}: are these the same test images?",
            code="table.labels_differ", example=first["example"], rows=rows,
        )  # fmt: skip


def _check_twice(frame: pd.DataFrame, by: list[str], where: str) -> None:
    twice = frame.duplicated([*by, "_code"], keep=False)
    if twice.any():
        first = frame[twice].iloc[0]
        rows = list(frame.index[twice])
        shown = first_few([*map(str, rows)])
        raise TableError(
            f"{where}: {first['model']} has several predictions of example {first['example']} "
            f"({first['dataset']}), rows {shown}: keep one, or add a column seed",
            code="table.example_twice", example=first["example"], rows=rows,
        )  # fmt: skip
