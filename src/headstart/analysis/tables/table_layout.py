"""Grids of cells -> rows of our columns, whether models, datasets or settings are in columns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from headstart.analysis.tables.canonical_names import IMAGENET, canonical, is_known_dataset
from headstart.analysis.tables.column_names import (
    COUNTS,
    ERRORS,
    KNOWN,
    LOSSES,
    MEASURES,
    NO_ACCURACIES,
    NUMBERS,
    PREDICTOR,
    SCORES,
    SIZES,
    SPREADS,
    SWEEPS,
    Heading,
    Resolved,
    base_of_spread,
    is_summary,
    means_for_accuracies,
    multiple_of,
    other_measures,
    resolve,
    without_measure,
)
from headstart.analysis.tables.numerals import Bad, NumberKind, Numbers, is_missing, parse_numbers
from headstart.analysis.tables.text_tables import Grid
from headstart.errors import TableError
from headstart.spec import plain_name
from headstart.spec.formatting import first_few, role

__all__ = ["ONE_SETTING", "arrange", "check_bad"]

# What all results of a table without a column `setting` are called.
ONE_SETTING = "transfer"
# A number with something beside it that is not understood: no text.
NEARLY = re.compile(r"\W*\d[\d.,]*\s*(?:[(\[±_^]|\+/-|\\pm)")
LINK = re.compile(r"^!?\[([^\]]*)\]\([^()]*\)$")


class _Value(NamedTuple):
    """A column of results: its place, what its header says they are of, whether error rates."""

    place: int
    names: dict[str, str]
    spread: bool
    error: bool = False


def arrange(
    grid: Grid, mapping: Mapping[str, str], where: str, *, wide: bool, dataset: str,
    predictor: str = "",
) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
    """Bring a table to one row per result.

    A table with a column of accuracies is taken as it is. Else, and with `wide`, all columns of
    numbers are results: of datasets (models in rows), of models (datasets in rows) or of settings.
    `dataset` is what the dataset is called where nothing says it.

    Returns
    -------
    tuple
        One row per result: text and float64 columns (NaN: unknown), and of accuracies whether a
        percent sign was there (`accuracy_percent`, `upstream_accuracy_percent`). The index says
        where a row stands. And how the table was understood, a phrase each.

    Raises
    ------
    TableError
        A column is missing or named twice, cells that are no numbers, or a table of which it is
        not plain where the models stand.
    """
    found = resolve(grid, mapping, where, scores=not wide, predictor=predictor)
    if not wide:
        found = means_for_accuracies(found)
    if not wide and any(map(found.has, SCORES)):
        across = any(is_known_dataset(found.headings[j].name) for j in found.rest)
        if found.has("dataset") or not across or any(name in mapping for name in SCORES):
            return _long(found, dataset)
        found = resolve(grid, mapping, where, scores=False, predictor=predictor)
    return _wide(found, fixed=wide or "model" in mapping)


def _long(found: Resolved, dataset: str) -> tuple[pd.DataFrame, list[str]]:
    frame, bad, notes = _attributes(found)
    check_bad(bad, found.where)
    notes = [*_guesses(found), *notes]
    if "model" not in frame:
        raise found.no_column("model")
    defaults = []
    for name, value, what in (("dataset", dataset, "dataset"), ("setting", ONE_SETTING, "setting")):
        if name not in frame:
            frame[name] = value
            defaults.append(name)
            notes.append(f"no column {name}: all results are one {what}, '{value}'")
    frame, said = _without_summaries(frame)
    notes += said
    if defaults and _contradicts_itself(frame) and _has_texts(found):
        raise found.no_column(defaults[0])
    return _in_order(frame), notes


def _without_summaries(
    frame: pd.DataFrame, *, by_name: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out averages over datasets or models: called so and, unless `by_name`, such."""
    said = []
    for kind, other in (("dataset", "model"), ("model", "dataset")):
        names = [name for name in pd.unique(frame[kind]) if is_summary(_text(name))]
        if len(names) == frame[kind].nunique():
            continue
        if names := names if by_name else _averages(frame, kind, other, names):
            frame = frame[~frame[kind].isin(names)]
            said.append(f"rows left out: {kind} {first_few(names)}")
    return frame, said


def _averages(frame: pd.DataFrame, kind: str, other: str, names: list[Any]) -> list[Any]:
    """Return those of some datasets or models whose scores are means over the others."""
    score = next(name for name in SCORES if name in frame)
    key = [name for name in (other, "setting") if name in frame]
    mean = frame[~frame[kind].isin(names)].groupby(key)[score].mean()
    rows = frame[frame[kind].isin(names)]
    at = pd.MultiIndex.from_frame(rows[key]) if len(key) > 1 else pd.Index(rows[key[0]])
    expected = mean.reindex(at).to_numpy()
    # Printed with a digit after the point in percent.
    off = np.abs(rows[score].to_numpy() - expected) > 1e-3 * np.maximum(1, np.abs(expected))
    return [name for name in names if not off[(rows[kind] == name).to_numpy()].any()]


def _contradicts_itself(frame: pd.DataFrame) -> bool:
    """Return whether rows that differ in nothing that is known have several accuracies."""
    key = [n for n in ("model", "dataset", "setting", "seed", "protocol", *SWEEPS) if n in frame]
    score = next(name for name in SCORES if name in frame)
    return bool((frame.groupby(key, dropna=False)[score].nunique() > 1).any())


def _has_texts(found: Resolved) -> bool:
    return any(
        isinstance(cell, str) and parse_numbers([cell], [0], "").bad
        for j in found.rest
        for cell in found.cells(j)[:3]
    )


def _attributes(found: Resolved) -> tuple[pd.DataFrame, list[Bad], list[str]]:
    """Read our columns that are there, numbers as numbers."""
    rows = found.rows
    taken: dict[str, Any] = {}
    bad: list[Bad] = []
    differences = 0
    for name, places in found.columns.items():
        if name not in NUMBERS:
            taken[name] = _texts(found, places)
            continue
        heading = found.headings[places[0]]
        numbers = found.numbers(places[0], _kind(name))
        bad += numbers.bad
        differences += numbers.differences
        taken[name] = numbers.value * (multiple_of(heading) if name in SIZES else 1)
        if name in ("accuracy", "error", "upstream_accuracy", "upstream_error", PREDICTOR):
            taken[f"{name}_percent"] = numbers.percent | heading.percent
        if name == "upstream_accuracy" and heading.lower:
            taken["upstream_accuracy_is_error"] = [True] * len(rows)
        if name in ("accuracy", "error", "log_odds") and not np.isnan(numbers.spread).all():
            taken.setdefault("se", numbers.spread)
    for name, value in found.constants.items():
        if name in NUMBERS:
            numbers = parse_numbers([value], ["--columns"], name, _kind(name))
            bad += numbers.bad
            taken[name] = np.repeat(numbers.value, len(rows))
        else:
            taken[name] = [value] * len(rows)
    return pd.DataFrame(taken, index=rows), bad, _said_of_differences(differences)


def _said_of_differences(count: int) -> list[str]:
    return [f"{count} differences in brackets, such as (+0.5), left out"] if count else []


def _kind(name: str) -> NumberKind:
    if name in COUNTS:
        return "count"
    if name in SIZES:
        return "size"
    return "accuracy" if name in ("accuracy", "error") else "score"


def _texts(found: Resolved, places: list[int]) -> list[Any]:
    """Join the texts of columns by a blank; what is empty is left out, but for the first."""
    if len(places) == 1:
        return [LINK.sub(r"\1", c) if isinstance(c, str) else c for c in found.cells(places[0])]
    parts = zip(*map(found.cells, places), strict=True)
    texts = [[_text(cell) for cell in row] for row in parts]
    # A blank below a name may be the name again, or none: it is refused as a missing name.
    return [
        " ".join(text for text in row if text and not is_missing(text)) if row[0] else ""
        for row in texts
    ]


def _text(cell: Any) -> str:
    return "" if cell is None or (np.isscalar(cell) and pd.isna(cell)) else str(cell).strip()


def _wide(found: Resolved, *, fixed: bool) -> tuple[pd.DataFrame, list[str]]:
    """Find the columns of results, what stands across and what in rows; one row per result.

    With `fixed`, models stand in rows.
    """
    parsed, texts, left_out = _numeric(found)
    if not parsed and "upstream_accuracy" in found.guessed:
        # Beside no other dataset, ImageNet is the dataset.
        taken = {name: p for name, p in found.columns.items() if name != "upstream_accuracy"}
        guessed = {n: theirs for n, theirs in found.guessed.items() if n != "upstream_accuracy"}
        rest = [*found.rest, *found.columns["upstream_accuracy"]]
        found = found._replace(columns=taken, guessed=guessed, rest=rest)
        parsed, texts, left_out = _numeric(found)
    if not parsed:
        raise found.no_column("accuracy")
    found, across, how = _orient(found, list(parsed), texts, fixed=fixed)
    values = _values(found, list(parsed), across)
    if all(value.spread for value in values):
        raise found.no_column("accuracy")
    _check_joined(found, texts, across)
    frame, bad, said = _attributes(found)
    bad += [one for value in values for one in parsed[value.place].bad]
    said += _said_of_differences(sum(parsed[value.place].differences for value in values))
    check_bad(bad, found.where)
    left_out += [found.headings[j].full for j in texts if j not in found.columns.get("model", ())
                 and j not in found.columns.get("dataset", ())]  # fmt: skip
    long = _melted(frame, found, parsed, values)
    long, upstream = _with_imagenet(long)
    if upstream or "upstream_accuracy" in found.guessed:
        long["upstream_as_results"] = True
    if "setting" not in long:
        long["setting"] = ONE_SETTING
        said.append(f"no column setting: all results are one setting, '{ONE_SETTING}'")
    long, averages = _without_summaries(long, by_name=True)
    said += averages
    counts = " x ".join(f"{n} {kind}{'s' * (n != 1)}" for kind in ("model", "dataset")
                        if (n := long[kind].nunique()))  # fmt: skip
    names = first_few(list(dict.fromkeys(str(name) for name in long["dataset"])))
    notes = [f"wide table: {counts} ({names}){how}", *_guesses(found), *upstream, *said]
    if left_out := list(dict.fromkeys([*found.ignored, *filter(None, left_out)])):
        notes.append(f"columns left out: {first_few(left_out)}")
    return _in_order(long), notes


def _numeric(found: Resolved) -> tuple[dict[int, Numbers], list[int], list[str]]:
    """Part the other columns: results (place -> numbers), texts, and what is left out."""
    parsed, texts, left_out = {}, [], []
    # Beside spreads, "mean" is what they are of.
    spreads = any(plain_name(text) in SPREADS for c in found.headings for text in c.levels[:-1])
    others = other_measures(found.headings)
    for j in found.rest:
        heading, numbers = found.headings[j], found.numbers(j, "accuracy")
        known = int(np.isfinite(numbers.value).sum())
        if not heading.name and known == len(found.body) and (np.diff(numbers.value) == 1).all():
            continue
        spoiled = sum(bool(NEARLY.match(one.text)) for one in numbers.bad)
        named = "model" in found.columns and is_known_dataset(heading.full)
        if len(numbers.bad) - spoiled > known + spoiled and not named:
            texts.append(j)
        elif (
            j in others
            or (
                _is_no_accuracy(heading)
                and not (
                    spreads and plain_name(heading.levels[0]) in MEASURES and heading.levels[1:]
                )
            )
            or (known and np.nanmin(numbers.value) > 100)
        ):
            left_out.append(heading.full)
        elif known or numbers.bad or heading.name:
            parsed[j] = numbers
    return parsed, texts, left_out


def _is_no_accuracy(heading: Heading) -> bool:
    whole = [text for text in heading.levels if text]
    if any(is_summary(text) for text in whole[:1] + whole[-1:]) and not (
        len(whole) > 1 and plain_name(whole[-1]) in MEASURES and not is_summary(whole[0])
    ):
        return True
    if LOSSES.search(heading.full):
        return True
    plain = plain_name(heading.full)
    return bool(NO_ACCURACIES.fullmatch(plain)) and not is_known_dataset(heading.full)


def _orient(
    found: Resolved, values: list[int], texts: list[int], *, fixed: bool
) -> tuple[Resolved, str, str]:
    """State what stands across ("dataset", "model" or "setting"), and which column has the rest.

    With `fixed`, models stand in rows.
    """
    has = {name for name in ("model", "dataset") if found.has(name)}
    names = [text for j in values for text in found.headings[j].levels if text]
    if has == {"model", "dataset"}:
        if all(any(role(text) for text in found.headings[j].levels) for j in values):
            return found, "setting", ", a column per setting"
        raise found.no_column("accuracy")
    if has == {"dataset"}:
        return found, "model", ", datasets in rows"
    if has == {"model"}:
        rows = [] if fixed else _texts(found, found.columns["model"])
        if _mostly_datasets(rows) and not any(map(is_known_dataset, names)):
            swapped = {**found.columns, "dataset": found.columns["model"]}
            del swapped["model"]
            return found._replace(columns=swapped), "model", ", datasets in rows"
        return found, "dataset", ""
    if not texts:
        raise found.no_column("model")
    corner = texts[0]
    rows_are = _mostly_datasets(_texts(found, [corner]))
    if rows_are and not any(map(is_known_dataset, names)):
        columns = {**found.columns, "dataset": [corner]}
        return found._replace(columns=columns), "model", ", datasets in rows"
    if (any(map(is_known_dataset, names)) and not rows_are) or fixed:
        return found._replace(columns={**found.columns, "model": [corner]}), "dataset", ""
    name = found.headings[corner].full or f"#{corner + 1}"
    raise TableError(
        f"{found.where}: models in rows or in columns? No column is called model or dataset, and "
        f"no name is one of a known dataset: pass --columns \"model={name}\" or \"dataset={name}\"",
        code="table.orientation", column=name,
        found=[column.full for column in found.headings],
    )  # fmt: skip


def _mostly_datasets(cells: Sequence[Any]) -> bool:
    names = [text for cell in cells if (text := _text(cell)) and not is_summary(text)]
    known = sum(map(is_known_dataset, names))
    return known >= 1 and known * 2 >= len(names)


def _values(found: Resolved, places: list[int], across: str) -> list[_Value]:
    """State what the header texts of each column of results are: dataset, setting, measure."""
    columns = found.headings
    kinds = _kinds(columns, places, across)
    plain = {plain_name(columns[j].full) for j in places}
    values: list[_Value] = []
    for j in places:
        names, spread, wrong = _names_of(columns[j], kinds)
        error = columns[j].lower or wrong
        base = base_of_spread(names.get(across, ""), plain)
        if base is not None and len([k for k in kinds if k]) == 1:
            names[across], spread = base, True
        elif plain_name(columns[j].full) in SPREADS or columns[j].full == "±":
            # It belongs to the column before.
            names, spread = dict(values[-1].names) if values else {}, True
        if across == "dataset":
            names, wrong = without_measure(names)
            error |= wrong
        values.append(_Value(j, names, spread, error))
    if {value.names.get("metric") for value in values if not value.spread} == {"accuracy"}:
        # What all are need not be said in a column.
        values = [v._replace(names={k: t for k, t in v.names.items() if k != "metric"})
                  for v in values]  # fmt: skip
    _check_once(values, found, across)
    return values


def _names_of(heading: Heading, kinds: list[str | None]) -> tuple[dict[str, str], bool, bool]:
    """Return what the texts of a heading name, and whether it is of spreads, or of error rates."""
    names: dict[str, str] = {}
    spread = error = False
    for kind, text in zip(kinds, heading.levels, strict=True):
        plain = plain_name(text) if kind == "metric" else ""
        if plain in SPREADS or text == "±":
            spread = True
        elif plain in ERRORS:
            error = True
        elif kind and (text or kind != "metric"):
            names[kind] = MEASURES.get(plain, text)
    return names, spread, error


def _check_once(values: list[_Value], found: Resolved, across: str) -> None:
    """Refuse two columns of one dataset (or model) and setting."""
    seen: dict[tuple[Any, ...], int] = {}
    for value in values:
        key = (*(value.names.get(kind) for kind in ("model", "dataset", "setting")), value.spread)
        if key in seen:
            both = [found.headings[place].full for place in (seen[key], value.place)]
            raise TableError(
                f"{found.where}: columns '{both[0]}' and '{both[1]}' are of the same "
                f"{across}: leave one out with --columns \"ignore={both[1]}\"",
                code="table.column_twice", column=value.names.get(across), found=both,
            )  # fmt: skip
        seen[key] = value.place


def _kinds(columns: Sequence[Heading], places: list[int], across: str) -> list[str | None]:
    """State what each header row names; None for a row that groups what is below it."""
    levels = list(zip(*(columns[j].levels for j in places), strict=True))
    kinds: list[str | None] = [None] * len(levels)
    for i, texts in enumerate(levels):
        distinct = {text for text in texts if text}
        if not distinct:
            continue
        plain = {plain_name(text) or text for text in distinct}
        if len(levels) > 1 and plain <= {*MEASURES, *ERRORS, *SPREADS}:
            kinds[i] = "metric"
        elif across != "setting" and len(levels) > 1 and all(role(text) for text in distinct):
            kinds[i] = "setting"
        elif across == "dataset" and any(map(is_known_dataset, distinct)) and across not in kinds:
            kinds[i] = across
    free = [i for i, kind in enumerate(kinds) if kind is None and any(levels[i])]
    if across not in kinds and free:
        kinds[free.pop()] = across
    elif across not in kinds:
        kinds[-1] = across
    below = levels[kinds.index(across)]
    for i in free:
        # A name over columns that differ without it groups them; else it is a setting.
        if "setting" not in kinds and len(set(below)) < len(below) and "metric" not in kinds:
            kinds[i] = "setting"
    return kinds


def _check_joined(found: Resolved, texts: list[int], across: str) -> None:
    """Refuse models of one name in several rows which another column of text tells apart."""
    places = found.columns.get("model", [])
    others = [j for j in texts if j not in places]
    if across != "dataset" or not places or not others:
        return
    given = [name for name in found.columns if name not in ("model",)]
    key = [_texts(found, places), *(_texts(found, found.columns[name]) for name in given)]
    rows = pd.DataFrame({i: list(map(_text, column)) for i, column in enumerate(key)})
    if not rows.duplicated().any():
        return
    for j in others:
        rows[f"other {j}"] = list(map(_text, found.cells(j)))
        if not rows.duplicated().any():
            joined = "+".join(found.headings[k].full for k in (*places, j))
            column = found.headings[j].full
            raise TableError(
                f"{found.where}: several rows per model, differing in column '{column}': join "
                f"the names with --columns \"model={joined}\", or say what it is",
                code="table.rows_per_model", column=column, suggestion=f"model={joined}",
            )  # fmt: skip


def _melted(
    frame: pd.DataFrame, found: Resolved, parsed: dict[int, Numbers], values: list[_Value]
) -> pd.DataFrame:
    """Put columns of results below each other, row by row of the table."""
    columns = found.headings
    spreads = {_key(v): parsed[v.place].value for v in values if v.spread}
    results = [value for value in values if not value.spread]
    n, d = len(frame), len(results)
    order = np.repeat(np.arange(n), d)
    long = frame.iloc[order].copy()
    labels = [columns[v.place].full for v in results]
    long.index = pd.Index([f"{row} ({label})" for row in frame.index for label in labels])
    stacked = [parsed[v.place] for v in results]
    long["accuracy"] = np.column_stack([one.value for one in stacked]).ravel()
    signs = [
        one.percent | columns[v.place].percent for one, v in zip(stacked, results, strict=True)
    ]
    long["accuracy_percent"] = np.column_stack(signs).ravel()
    errors = [np.full(n, v.error) for v in results]
    if np.any(errors):
        long["is_error"] = np.column_stack(errors).ravel()
    se = np.column_stack(
        [spreads.get(_key(v), one.spread) for one, v in zip(stacked, results, strict=True)]
    ).ravel()
    if not np.isnan(se).all() and "se" not in long:
        long["se"] = se
    for kind in ("model", "dataset", "setting", "metric"):
        if any(kind in value.names for value in results):
            long[kind] = np.tile([value.names.get(kind) for value in results], n)
    return long


def _key(value: _Value) -> tuple[str | None, ...]:
    return tuple(plain_name(value.names.get(kind, "")) for kind in ("model", "dataset", "setting"))


def _with_imagenet(long: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Take the accuracy on ImageNet beside other datasets for the upstream accuracy."""
    given = "upstream_accuracy" in long or "upstream_error" in long
    names = [name for name in pd.unique(long["dataset"])
             if canonical("dataset", str(name)) == IMAGENET]  # fmt: skip
    upstream = long["dataset"].isin(names)
    if given or not upstream.any() or upstream.all():
        return long, []
    rows = long[upstream & long["accuracy"].notna()]
    name = str(rows["dataset"].iloc[0]) if len(rows) else IMAGENET
    of = rows.drop_duplicates("model").set_index("model")
    rest = long[~upstream]
    if "is_error" in of and bool(of["is_error"].any()):
        rest = rest.assign(upstream_accuracy_is_error=True)
    for column in ("accuracy", "accuracy_percent"):
        rest = rest.assign(**{f"upstream_{column}": rest["model"].map(of[column])})
    rest["upstream_accuracy_percent"] = rest["upstream_accuracy_percent"] == True  # noqa: E712
    return rest, [f"'{name}' is the upstream accuracy"]


def _guesses(found: Resolved) -> list[str]:
    """Return which columns were taken for ours by a name that is not ours."""
    said = [f"{ours} from '{theirs}'" for ours, theirs in found.guessed.items()
            if plain_name(ours) != plain_name(theirs)]  # fmt: skip
    return ["columns: " + ", ".join(said)] if said else []


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in KNOWN if name in frame]
    return frame[names + [name for name in frame if name not in KNOWN]]


def check_bad(bad: list[Bad], where: str) -> None:
    """Raise TableError for cells that are no numbers, if there are any."""
    if not bad:
        return
    cells = [f"row {one.row}, column '{one.column}': '{one.text[:40]}'" for one in bad]
    count = "1 cell is not a number" if len(bad) == 1 else f"{len(bad)} cells are not numbers"
    raise TableError(
        f"{where}: {count}: {first_few(cells)}; expected numbers as 92.1, 92.1 ± 0.3 or "
        "92.1 (0.3), or - for none",
        code="table.cells", count=len(bad),
        cells=[(one.row, one.column, one.text) for one in bad],
    )  # fmt: skip
