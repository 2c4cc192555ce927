"""Join tables of results: names aligned, agreeing rows merged, predictors added."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from headstart.analysis.tables.canonical_names import (
    NameKind,
    canonical,
    families_of,
    match_names,
    merge_spellings,
    nearest,
)
from headstart.analysis.tables.column_names import NUMBERS, PREDICTOR, REQUIRED, SWEEPS
from headstart.errors import TableError
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec import Prediction
from headstart.spec.formatting import first_few

__all__ = [
    "EVERYTHING",
    "TRIAL_COLUMNS",
    "ResultsTable",
    "align",
    "count_duplicates",
    "join_tables",
    "source_notes",
]

# The order in which names are matched: what a model's cells are is known by the other two.
KINDS: tuple[NameKind, ...] = ("setting", "dataset", "model")
# Names in one line.
MOST_NAMES = 12
# Accuracies printed with a digit after the point in percent, and rounded by other rules.
ROUNDED = 6e-4
# Upstream accuracies of one network at sizes and crops that differ a little.
SAME_UPSTREAM = 5e-3
# What tells results of one name apart.
QUALIFIERS = (
    ("setting", "protocol"),
    ("setting", "precision"),
    ("dataset", "content"),
    ("dataset", "limit"),
)
# Stands for all datasets together where a table has one row for them.
EVERYTHING = "all"
CELL = (*REQUIRED, *SWEEPS)
TRIAL_COLUMNS = (
    "setting", "model", "dataset", "seed", "protocol", "metric", "precision", "limit", "n_train",
    "n_test", "n_classes", "splits", "chosen", "relative_gap", "unconverged", "skipped_images",
    "versions", "examples", "weights", "key", "seconds", "left_out", "data_warnings",
)  # fmt: skip
# Two spellings of one number differ by less.
SAME = 1e-9


@dataclass(frozen=True)
class ResultsTable:
    """A tidy table of results, where it comes from, and how its numbers were made.

    Parameters
    ----------
    frame
        One row per result: model, family, dataset, setting, accuracy (proportion), and what else
        was there of `headstart.analysis.tables.column_names`.
    facts
        What a source is, a dict each: name, kind (store, published, frame, predictions, or a
        file's format), unit and the rule that settled it, rows, families (given or guessed),
        `reading` (how it was understood, a phrase each), duplicates (rows dropped), and where there
        are such: description, citation, digitised, sha256; of all but the first source `renamed`
        `kept_apart` and `unmatched` (see `align`).
    trials
        One row per stored result, `TRIAL_COLUMNS`.
    predictions
        Key of a stored result -> how to read its per-example predictions.
    predictor
        What the column `predictor` of the frame holds.
    own
        Models of sources beside a published table that it does not have; empty without one.
    """

    frame: pd.DataFrame
    facts: tuple[dict[str, Any], ...]
    trials: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TRIAL_COLUMNS)))
    predictions: Mapping[str, Callable[[], Prediction]] = field(default_factory=dict)
    predictor: Predictor = UPSTREAM_ACCURACY
    own: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What it came from, in words."""
        return " and ".join(fact["name"] for fact in self.facts)


def align(source: ResultsTable, to: ResultsTable, *, lenient: bool = False) -> ResultsTable:
    """Return settings, datasets and models of a source the names that another one has for them.

    Names are matched by `canonical`; unless `lenient`, settings and models
    stay apart where the two tables then disagree on a cell, models also where their upstream
    accuracies do. The facts get ``renamed`` (their name -> that of `to`), ``kept_apart`` (pairs)
    and ``unmatched`` (kind, name, nearest).
    """
    frame, renamed = source.frame, dict[str, str]()
    apart: list[tuple[str, str]] = []
    for kind in KINDS:
        theirs, ours = pd.unique(frame[kind]), pd.unique(to.frame[kind])
        found = match_names(kind, theirs, ours)
        if kind == "model":
            found, differ = (found, []) if lenient else _same_models(frame, to.frame, found)
            apart += differ
        named = frame.assign(**{kind: frame[kind].replace(found)}) if found else frame
        if kind == "setting" and not lenient and _disagree(named, to.frame):
            # One way to transfer in name alone: other protocols, or other networks of one name.
            apart += list(found.items())
            continue
        frame, renamed = named, renamed | found
    unmatched = [
        (kind, str(name), nearest(kind, str(name), list(pd.unique(to.frame[kind]))))
        for kind in KINDS
        for name in pd.unique(frame[kind])
        if name not in set(to.frame[kind])
    ]
    fact = source.facts[0] | {
        "renamed": renamed, "unmatched": unmatched, "kept_apart": apart, "to": to.name,
    }  # fmt: skip
    return replace(source, frame=frame, facts=(fact, *source.facts[1:]))


def source_notes(fact: Mapping[str, Any]) -> list[str]:
    """Return how a source was understood and how its names meet earlier ones, a line each.

    Parameters
    ----------
    fact
        One of `ResultsTable.facts`.
    """
    lines = [f"read as: {'; '.join(fact['reading'])}"] if fact.get("reading") else []
    if fact.get("renamed"):
        pairs = [f"{theirs} = {ours}" for theirs, ours in fact["renamed"].items()]
        lines.append(f"names matched with {fact['to']}: {first_few(pairs, MOST_NAMES)}")
    if fact.get("kept_apart"):
        pairs = [f"{theirs} and {ours}" for theirs, ours in fact["kept_apart"]]
        said = first_few(pairs, MOST_NAMES)
        lines.append(f"names kept apart, since the numbers differ: {said}")
    for kind in KINDS:
        names = [f"{name} (nearest: {near})" if near else name
                 for of, name, near in fact.get("unmatched", ()) if of == kind]  # fmt: skip
        if names:
            hinted = sorted(names, key=lambda name: "(nearest" not in name)
            lines.append(f"{kind}s not in {fact['to']}: {first_few(hinted, MOST_NAMES)}")
    return lines


def _disagree(frame: pd.DataFrame, to: pd.DataFrame) -> bool:
    """Return whether two tables have other numbers for cells of one name."""
    # Datasets are matched next; here all spellings count as one.
    both = [one.assign(dataset=one["dataset"].map({name: canonical("dataset", str(name))
                                                   for name in pd.unique(one["dataset"])}))
            for one in (frame, to)]  # fmt: skip
    cells = both[0].merge(both[1], on=["model", "dataset", "setting"], suffixes=("", "_other"))
    return bool(((cells["accuracy"] - cells["accuracy_other"]).abs() > ROUNDED).any())


def _same_models(
    frame: pd.DataFrame, to: pd.DataFrame, names: dict[str, str]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Part pairs of names into those whose numbers agree, and those that contradict each other."""
    if not names:
        return names, []
    part = frame[frame["model"].isin(names)].assign(model=lambda rows: rows["model"].map(names))
    both = part.merge(to, on=["model", "dataset", "setting"], suffixes=("", "_other"))
    differs = set(both["model"][(both["accuracy"] - both["accuracy_other"]).abs() > SAME])
    if "upstream_accuracy" in frame and "upstream_accuracy" in to:
        mine, other = (one.groupby("model")["upstream_accuracy"].first() for one in (part, to))
        apart = (mine - other.reindex(mine.index)).abs() > SAME_UPSTREAM
        differs |= set(apart.index[apart])
    same = {theirs: ours for theirs, ours in names.items() if ours not in differs}
    return same, [pair for pair in names.items() if pair[1] in differs]


def join_tables(
    read: Sequence[ResultsTable], predictor: Predictor, *, average: bool
) -> ResultsTable:
    """Put tables together: names as in the first, agreeing rows once, the predictor in a column.

    A table without accuracies that holds the predictor (`holds_predictor`) gives its values by
    model, or by model and dataset.

    Raises
    ------
    TableError
        Tables that contradict each other, no table with accuracies, or no value of the predictor.
    """
    values = [one for one in read if "accuracy" not in one.frame]
    read = [one for one in read if "accuracy" in one.frame]
    if not read:
        raise TableError(
            f"{values[0].name} holds {predictor.label} without accuracies: add a table of results",
            code="table.no_accuracy",
        )
    aligned = list(read[:1])
    for one in read[1:]:
        facts = tuple(fact for other in aligned for fact in other.facts)
        frame = pd.concat([other.frame for other in aligned])
        earlier = replace(aligned[0], frame=frame, facts=facts)
        aligned.append(align(one, earlier))
    frames = [one.frame for one in aligned]
    if len(aligned) > 1:
        frames = _as_predicted(aligned)
        # So that a message can name the row of a source.
        frames = [
            frame.set_axis([f"{one.facts[0]['name']}:{row}" for row in frame.index])
            for one, frame in zip(aligned, frames, strict=True)
        ]
    where = " and ".join(one.facts[0]["name"] for one in aligned)
    frame = merge_agreeing(tell_apart(pd.concat(frames)), where, average=average)
    frame = _with_predictor(frame, values, predictor, where)
    described: list[dict[str, Any]] = []
    models: dict[bool, set[str]] = {True: set(), False: set()}
    for one in aligned:
        given = "family" in one.frame and one.frame["family"].notna().all()
        described += [{**fact, "families": "given" if given else "guessed"} for fact in one.facts]
        models[one.facts[0]["kind"] == "published"] |= set(map(str, one.frame["model"]))
    return ResultsTable(
        frame=_with_families(frame),
        facts=(*described, *(fact for one in values for fact in one.facts)),
        trials=pd.concat([one.trials for one in aligned], ignore_index=True),
        predictions={key: get for one in aligned for key, get in one.predictions.items()},
        predictor=_named(predictor, frame),
        own=frozenset(models[False] - models[True]) if models[True] else frozenset(),
    )


def _with_predictor(
    frame: pd.DataFrame, values: Sequence[ResultsTable], predictor: Predictor, where: str
) -> pd.DataFrame:
    """Add the column `predictor`; a model with one value has it in all of its rows."""
    if PREDICTOR not in frame:
        known = (
            frame[predictor.column]
            if predictor.column in NUMBERS and predictor.column in frame
            else np.nan
        )
        frame = frame.assign(**{PREDICTOR: known})
    for table in values:
        by = [name for name in ("model", "dataset") if name in table.frame]
        own = table.frame
        for kind in ("model", "dataset"):
            if kind in own:
                names = match_names(kind, pd.unique(own[kind]), pd.unique(frame[kind]))
                own = own.assign(**{kind: own[kind].replace(names)})
        _check_same(own, by, PREDICTOR, table.name)
        found = own.groupby(by)[PREDICTOR].first()
        at = pd.MultiIndex.from_frame(frame[by]) if len(by) > 1 else pd.Index(frame["model"])
        frame[PREDICTOR] = frame[PREDICTOR].fillna(
            pd.Series(found.reindex(at).to_numpy(), frame.index)
        )
    if predictor.column == UPSTREAM_ACCURACY.column:
        return frame
    refused = frame[frame[PREDICTOR].notna() & ~predictor.scale.allows(frame[PREDICTOR])]
    if len(refused):
        row = refused.iloc[0]
        raise TableError(
            f"{where}: {predictor.label} of model {row['model']} is {row[PREDICTOR]:g}: expected "
            f"{predictor.scale.expected}, or another scale: --predictor {predictor.column}:number",
            code="table.predictor_range", model=row["model"], value=float(row[PREDICTOR]),
        )  # fmt: skip
    if frame[PREDICTOR].isna().all():
        raise TableError(
            f"{where}: no column '{predictor.column}' with numbers: pass the name of a column to "
            "--predictor, or add a table of its values (columns model and, where it differs by "
            "dataset, dataset)",
            code="table.predictor_missing", column=predictor.column,
        )  # fmt: skip
    of_model = frame.groupby("model")[PREDICTOR]
    same = of_model.transform("first").where(of_model.transform("nunique") == 1)
    return frame.assign(**{PREDICTOR: frame[PREDICTOR].fillna(same)})


def _named(predictor: Predictor, frame: pd.DataFrame) -> Predictor:
    """Name what upstream accuracy is of ("ImageNet top-1 accuracy"), where there is one name."""
    names = frame["upstream_name"].dropna().unique() if "upstream_name" in frame else []
    if predictor.column != UPSTREAM_ACCURACY.column or len(names) != 1:
        return predictor
    label = str(names[0]) if "accuracy" in names[0] else f"{names[0]} accuracy"
    return replace(predictor, label=label)


def _as_predicted(read: Sequence[ResultsTable]) -> list[pd.DataFrame]:
    """Take the accuracy of predictions for a cell that a table has rounded."""
    cell = ["model", "dataset", "setting"]
    exact = [one.frame for one in read if one.facts[0]["kind"] == "predictions"]
    if not exact or len(exact) == len(read):
        return [one.frame for one in read]
    known = pd.concat(exact).drop_duplicates(cell).set_index(cell)["accuracy"]
    frames = []
    for one in read:
        found = known.reindex(pd.MultiIndex.from_frame(one.frame[cell])).to_numpy()
        near = np.abs(found - one.frame["accuracy"].to_numpy()) <= ROUNDED
        frames.append(one.frame.assign(accuracy=np.where(near, found, one.frame["accuracy"])))
    return frames


def _with_families(frame: pd.DataFrame) -> pd.DataFrame:
    """Guess the families that are not given, and merge spellings of one family."""
    guessed = frame["model"].map(families_of(frame["model"].unique()))
    known = frame["family"] if "family" in frame else pd.Series(None, frame.index, dtype=object)
    family = known.where(known.notna() & (known != ""), guessed).astype(str)
    return frame.assign(family=family.map(merge_spellings(family)))


def count_duplicates(frame: pd.DataFrame) -> int:
    """Count rows that say again what another row says of a cell and seed."""
    key = [
        name for name in (*CELL, *(by for _, by in QUALIFIERS), "seed", "accuracy") if name in frame
    ]
    return int(frame.duplicated(key).sum())


def merge_agreeing(frame: pd.DataFrame, where: str, *, average: bool = False) -> pd.DataFrame:
    """Keep one row of those that say the same of one cell and seed; fill in what others know.

    A model's upstream accuracy and a dataset's number of training images are carried to the rows
    that lack them. With `average`, rows of one cell are repeated runs, each with a seed of its own.

    Raises
    ------
    TableError
        Rows that say otherwise of one cell, or of one model's upstream accuracy in a setting.
    """
    if (frame["dataset"] == EVERYTHING).any():
        raise TableError(
            f"{where}: a dataset is called '{EVERYTHING}', which stands for all datasets together: "
            "rename it",
            code="table.dataset_all",
        )
    cell = [name for name in CELL if name in frame]
    if average:
        frame = frame.assign(seed=frame.groupby(cell, dropna=False).cumcount().astype("float64"))
    _check_seeds(frame, cell, where)
    key = [*cell, "seed"] if "seed" in frame else cell
    for name in ("metric", "accuracy", "n_test", PREDICTOR):
        if name in frame:
            _check_same(frame, key, name, where)
    for name in ("n_test", "metric", "se", "key", PREDICTOR):
        if name in frame:
            frame[name] = frame.groupby(key, dropna=False)[name].transform("first")
    frame = _with_upstream(frame.drop_duplicates(key), where)
    if "n_train" in frame:
        of = [name for name in ("dataset", "examples_per_class") if name in frame]
        frame["n_train"] = frame.groupby(of, dropna=False)["n_train"].transform("first")
    return frame.reset_index(drop=True)


def _check_same(frame: pd.DataFrame, key: list[str], name: str, where: str) -> None:
    known = frame[frame[name].notna()]
    groups = known.groupby(key, sort=False, dropna=False)[name]
    differs = groups.transform("nunique") > 1
    if name == "accuracy":
        differs &= groups.transform("max") - groups.transform("min") > SAME
    if not differs.any():
        return
    first = known[differs].iloc[0]
    same = np.logical_and.reduce(
        [(known[k] == first[k]) | (known[k].isna() & pd.isna(first[k])) for k in key]
    )
    rows = known[same]
    what = ", ".join(f"{k} {first[k]}" for k in key if not pd.isna(first[k]))
    values = 100 * rows[name] if name == "accuracy" else rows[name]
    unit = " %" if name == "accuracy" else ""
    raise TableError(
        f"{where}: {len(rows)} rows disagree on {what}: {name} {_list(values)}{unit}, "
        f"rows {_list(rows.index)}; keep one, tell them apart by a column seed, average them with "
        "--duplicates average, or compare two sources with --against",
        code="table.rows_disagree", column=name, rows=list(rows.index),
        values=rows[name].tolist(), cell={k: first[k] for k in key if not pd.isna(first[k])},
    )  # fmt: skip


def _check_seeds(frame: pd.DataFrame, cell: list[str], where: str) -> None:
    """Refuse a cell that has a seed in one row and none in another, unless they agree."""
    if "seed" not in frame:
        return
    groups = frame.groupby(cell, sort=False, dropna=False)
    some = groups["seed"].transform("count")
    spread = groups["accuracy"].transform("max") - groups["accuracy"].transform("min")
    mixed = (some > 0) & (some < groups["seed"].transform("size")) & (spread > SAME)
    if mixed.any():
        first = frame[mixed].iloc[0]
        what = ", ".join(f"{k} {first[k]}" for k in cell if not pd.isna(first[k]))
        raise TableError(
            f"{where}: rows disagree on {what}, and only some have a seed: give each a seed, "
            "or keep one",
            code="table.seed_missing", cell={k: first[k] for k in cell if not pd.isna(first[k])},
        )  # fmt: skip


def _with_upstream(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check that a model has one upstream accuracy in a setting; carry it to its other rows."""
    if "upstream_accuracy" not in frame:
        return frame
    name = "upstream_accuracy"
    of = ["model", "configuration"] if "configuration" in frame else ["model"]
    groups = frame.groupby([*of, "setting"], sort=False, dropna=False)[name]
    apart = groups.transform("max") - groups.transform("min") > SAME
    if apart.any():
        first = frame[apart].iloc[0]
        rows = frame[(frame["model"] == first["model"]) & (frame["setting"] == first["setting"])]
        found = rows[name].dropna().unique()
        raise TableError(
            f"{where}: model {first['model']} has several upstream accuracies in setting "
            f"{first['setting']}: {_list(100 * found)} %; give it one, or each its own name",
            code="table.upstream_differs", model=first["model"], setting=first["setting"],
            found=[float(value) for value in found],
        )  # fmt: skip
    within = frame.groupby([*of, "setting"], dropna=False)[name].transform("first")
    # From another setting only where there is no doubt which.
    by_model = frame.groupby(of, dropna=False)[name]
    anywhere = by_model.transform("first").where(
        by_model.transform("max") - by_model.transform("min") <= SAME
    )
    return frame.assign(**{name: within.fillna(anywhere)})


def _list(values: object) -> str:
    shown = [f"{v:g}" if isinstance(v, float) else str(v) for v in list(values)[:4]]  # type: ignore[call-overload]
    return " and ".join(shown)


def tell_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Put what tells results of one name apart into the name, and drop the columns that say it.

    A setting that came with several protocols or precisions becomes several settings, as
    ``linear (simclr2020)``; a dataset that came with several limits several datasets. So does one
    whose content is not the same everywhere: a folder that got more images, two of one name.
    """
    frame = frame.copy()
    for name, by in QUALIFIERS:
        if by not in frame:
            continue
        if by == "limit":
            said = frame[by].map("limit {:g}".format).where(frame[by].notna(), "all images")
        else:
            said = frame[by].astype(object).where(frame[by].notna(), "unnamed").astype(str)
        if by == "protocol" and "steps" in frame:
            said = said.map(_without_steps)
        # A table that does not say the protocol or content may be of any; no limit is all images.
        known = said if by == "limit" else said.where(frame[by].notna())
        several = known.groupby(frame[name]).transform("nunique") > 1
        frame.loc[several, name] = frame[name] + " (" + said + ")"
        frame = frame.drop(columns=by)
    return frame


def _without_steps(protocol: str) -> str:
    """Take steps out of what a protocol departs in: they are a factor of their own.

    Examples
    --------
    >>> _without_steps("quick (decays, steps)"), _without_steps("quick (steps)")
    ('quick (decays)', 'quick')
    """
    name, _, departs = protocol.removesuffix(")").partition(" (")
    others = [option for option in departs.split(", ") if option not in ("", "steps")]
    return f"{name} ({', '.join(others)})" if others else name
