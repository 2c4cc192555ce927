"""Where a table of results comes from: a store, a file, a published table, a DataFrame."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from headstart.analysis import published
from headstart.analysis.tables.canonical_names import (
    NameKind,
    canonical,
    families_of,
    match_names,
    merge_spellings,
    nearest,
)
from headstart.analysis.tables.column_names import SWEEPS, parse_mapping
from headstart.analysis.tables.example_tables import holds_examples, read_examples
from headstart.analysis.tables.file_formats import read_grid
from headstart.analysis.tables.table_layout import arrange
from headstart.analysis.tables.text_tables import Grid, grid_of_frame, list_some
from headstart.analysis.tables.tidy_table import (
    SAME,
    ReadOptions,
    Unit,
    count_duplicates,
    merge_agreeing,
    tell_apart,
    tidy,
)
from headstart.errors import TableError
from headstart.files import storage_errors
from headstart.spec import Prediction, Result, UpstreamAccuracy, Value
from headstart.spec.labels import number_label
from headstart.store import DATABASE_NAME, ResultStore, data_warnings, left_out, result_row

__all__ = [
    "TRIAL_COLUMNS",
    "ResultsTable",
    "SourceLike",
    "align",
    "read_references",
    "read_sources",
    "source_notes",
]

SourceLike: TypeAlias = str | Path | pd.DataFrame
SQLITE = b"SQLite format 3\x00"
# The order in which names are matched: what a model's cells are is known by the other two.
KINDS: tuple[NameKind, ...] = ("setting", "dataset", "model")
# Names in one line.
MOST_NAMES = 12
# What may stand after the question mark of a file, beside columns.
FILE_OPTIONS = ("unit", "measure", "spread", "sheet", "table")
# Accuracies printed with a digit after the point in percent, and rounded by other rules.
ROUNDED = 6e-4
# Upstream accuracies of one network at sizes and crops that differ a little.
SAME_UPSTREAM = 5e-3
SAID = ("description", "citation", "digitised", "error")
TRIAL_COLUMNS = (
    "setting", "model", "dataset", "seed", "protocol", "metric", "precision", "limit", "n_train",
    "n_test", "chosen", "relative_gap", "unconverged", "skipped_images", "versions", "examples",
    "weights", "key", "seconds", "left_out", "data_warnings",
)  # fmt: skip


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
    """

    frame: pd.DataFrame
    facts: tuple[dict[str, Any], ...]
    trials: pd.DataFrame
    predictions: Mapping[str, Callable[[], Prediction]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it came from, in words."""
        return " and ".join(fact["name"] for fact in self.facts)


def read_sources(
    sources: Sequence[SourceLike],
    columns: Mapping[str, str] | str | None = None,
    options: ReadOptions | None = None,
    predictions: Sequence[SourceLike] = (),
) -> ResultsTable:
    """Read sources and put them together to one table.

    Parameters
    ----------
    sources
        Each the path of a results store or of a table in any format of
        `headstart.analysis.tables.file_formats`, the name of a published table
        (`headstart.analysis.published.NAMES`), or a DataFrame: model, accuracy, and where known
        dataset, setting, upstream_accuracy, metric, n_test, seed, se, family, n_train,
        configuration, steps, examples_per_class. What holds for one file alone
        follows its path after a question mark, as in `columns`: ``a.csv?dataset:=food101``; there
        ``unit``, ``measure``, ``sheet`` and ``table`` may stand, too.
    columns
        Our column name -> theirs (or ":" and one value for all rows), for files and DataFrames; or
        the same as text, ``"model=Model,setting:=linear"``.
    options
        How to read what tables do not say.
    predictions
        Further sources: tables with a row per example and model.

    Raises
    ------
    TableError, StoreError, StorageError
    """
    if not sources and not predictions:
        raise TableError("expected at least one source, found none", code="table.no_source")
    options = options or ReadOptions()
    mapping = parse_mapping(columns) if isinstance(columns, str) else dict(columns or {})
    read = [_read(source, mapping, options) for source in sources]
    read += [_read(source, mapping, options, of_examples=True) for source in predictions]
    return _joined(read, average=options.duplicates == "average")


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
        lines.append(f"names matched with {fact['to']}: {list_some(pairs, MOST_NAMES)}")
    if fact.get("kept_apart"):
        pairs = [f"{theirs} and {ours}" for theirs, ours in fact["kept_apart"]]
        said = list_some(pairs, MOST_NAMES)
        lines.append(f"names kept apart, since the numbers differ: {said}")
    for kind in KINDS:
        names = [f"{name} (nearest: {near})" if near else name
                 for of, name, near in fact.get("unmatched", ()) if of == kind]  # fmt: skip
        if names:
            hinted = sorted(names, key=lambda name: "(nearest" not in name)
            lines.append(f"{kind}s not in {fact['to']}: {list_some(hinted, MOST_NAMES)}")
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


def _joined(read: list[ResultsTable], *, average: bool) -> ResultsTable:
    aligned = read[:1]
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
    return ResultsTable(
        frame=_with_families(frame),
        facts=tuple(
            {**fact, "families": _families(one.frame)} for one in aligned for fact in one.facts
        ),
        trials=pd.concat([one.trials for one in aligned], ignore_index=True),
        predictions={key: get for one in aligned for key, get in one.predictions.items()},
    )


def _as_predicted(read: list[ResultsTable]) -> list[pd.DataFrame]:
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


def _read(
    source: SourceLike, columns: dict[str, str], options: ReadOptions, *, of_examples: bool = False
) -> ResultsTable:
    if isinstance(source, pd.DataFrame):
        grid, facts = grid_of_frame(source), {"kind": "frame"}
        return _of_grid(grid, "the table", facts, columns, options, of_examples)
    if not isinstance(source, str | Path):
        raise TableError(f"expected a path, a name or a DataFrame as source, found {source!r:.60}",
                         code="table.source")  # fmt: skip
    if str(source) in published.NAMES and not Path(source).exists():
        return _read_published(str(source))
    path, own = _place(source)
    if path.is_dir() and (path / DATABASE_NAME).exists():
        path = path / DATABASE_NAME
    if path.is_dir() or not path.exists():
        raise _not_there(source, path)
    with storage_errors(path, reading=True), path.open("rb") as file:
        is_store = file.read(len(SQLITE)) == SQLITE
    if is_store:
        return _read_store(path)
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    # Names of their own that several files need not have in common.
    columns = {**columns, **{k: v for k, v in own.items() if k not in FILE_OPTIONS}}
    chosen = {k: v.removeprefix(":") for k, v in own.items() if k in FILE_OPTIONS}
    number = chosen.pop("table", None)
    if number is not None and not (number.isascii() and number.isdigit()):
        raise TableError(f"{source}: invalid table '{number}': expected a whole number",
                         code="table.number", found=number)  # fmt: skip
    grid = read_grid(content, str(path), chosen.pop("sheet", None), int(number) if number else None)
    _check_caption(grid, str(path), chosen.get("measure") or options.measure)
    facts = {"kind": grid.kind, "sha256": sha256(content).hexdigest()}
    given: dict[str, Any] = chosen
    return _of_grid(grid, str(path), facts, columns, replace(options, **given), of_examples)


def _check_caption(grid: Grid, name: str, measure: str | None) -> None:
    """Refuse a table whose caption speaks of error rates alone, unless `measure` is given."""
    titles = [note.removeprefix("title: ") for note in grid.notes if note.startswith("title: ")]
    caption = " ".join([grid.caption, *titles])
    header = " ".join(text for column in grid.header for text in column)
    if (
        measure is None
        and re.search(r"\berrors?(?: rates?)?\b(?!\s*bar)", caption, re.IGNORECASE)
        and not re.search(r"accurac|standard error|error bar", caption, re.IGNORECASE)
        and not re.search(r"\berr|acc|[↓⇓]", header, re.IGNORECASE)
    ):
        raise TableError(
            f"{name}: error rates or accuracies? The caption says '{caption.strip()[:60]}': pass "
            "--measure error or --measure accuracy",
            code="table.caption_error", caption=caption.strip(),
        )  # fmt: skip


def _place(source: str | Path) -> tuple[Path, dict[str, str]]:
    """Part the path from what follows a question mark, unless a file has that name."""
    path = Path(source)
    with storage_errors(path, reading=True):
        # A name that is too long for the file system says so here.
        if path.exists() or "?" not in str(source):
            return path, {}
    name, _, own = str(source).rpartition("?")
    mapping = parse_mapping(own, FILE_OPTIONS)
    for key in FILE_OPTIONS:
        if key in mapping and not mapping[key].startswith(":"):
            mapping[key] = ":" + mapping[key]
    return Path(name), mapping


def _not_there(source: SourceLike, path: Path) -> TableError:
    what = f"a folder without {DATABASE_NAME}" if path.is_dir() else "nothing there"
    near = get_close_matches(str(source), published.NAMES, n=1, cutoff=0.7)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return TableError(
        f"source '{source}': expected a results store, a table (CSV, JSON, Excel, Parquet, "
        f"Markdown, LaTeX, HTML), or one of the published tables {', '.join(published.NAMES)}; "
        f"found {what}{hint}",
        code="table.not_found", source=str(source), near=near,
    )  # fmt: skip


def _of_grid(
    grid: Grid,
    name: str,
    facts: dict[str, Any],
    columns: dict[str, str],
    options: ReadOptions,
    of_examples: bool = False,
) -> ResultsTable:
    dataset = Path(name).name.split(".")[0] if facts["kind"] != "frame" else "dataset"
    predictions: Mapping[str, Callable[[], Prediction]] = {}
    if of_examples or holds_examples(grid, columns, name):
        frame, predictions, notes = read_examples(grid, columns, name, dataset=dataset)
        facts = facts | {"kind": "predictions"}
    else:
        frame, notes = arrange(grid, columns, name, wide=options.wide, dataset=dataset)
    found = tidy(frame, name, options if not predictions else ReadOptions())
    notes = [*grid.notes, *notes, *found.notes, *_said_of_spread(found.frame, options)]
    if duplicates := count_duplicates(found.frame) if options.duplicates == "refuse" else 0:
        notes.append(f"{duplicates} duplicate rows dropped (equal to another row)")
    said: dict[str, Any] = {"name": name, **facts, "unit": found.unit, "unit_rule": found.rule}
    said |= {
        "columns": columns,
        "rows": len(found.frame),
        "digitised": facts.get("digitised", False),
        "without_accuracy": found.without_accuracy,
        "unmeasured": found.unmeasured,
        "reading": notes,
        "duplicates": duplicates,
    }
    trials = pd.DataFrame(columns=list(TRIAL_COLUMNS))
    return ResultsTable(found.frame, (said,), trials, dict(predictions))


def _said_of_spread(frame: pd.DataFrame, options: ReadOptions) -> list[str]:
    if "se" not in frame or frame["se"].isna().all():
        return []
    if options.runs > 1:
        return [f"spreads (±) are standard deviations over {options.runs} runs, divided by "
                f"sqrt({options.runs})"]  # fmt: skip
    return ["spreads (±) taken for standard errors; for standard deviations over N runs pass "
            "--spread sd:N"]  # fmt: skip


def _read_published(name: str) -> ResultsTable:
    facts, content = published.facts(name), published.csv_bytes(name)
    grid = read_grid(content, name)
    if "rows_of" in facts:
        grid = _with_rows_of(grid, facts["rows_of"])
    families = facts.pop("families", {})
    said: dict[str, Any] = {"kind": "published", "sha256": sha256(content).hexdigest()}
    said |= {name: value for name, value in facts.items() if name in SAID}
    options = ReadOptions(unit=facts["unit"])
    source = _of_grid(grid, name, said, facts["columns"], options)
    # How a table of ours is built need not be explained.
    source = replace(source, facts=({**source.facts[0], "reading": []},))
    frame = source.frame.assign(upstream_name=facts["upstream_name"])
    if families:
        of_model = {model: family for family, models in families.items() for model in models}
        frame["family"] = frame["model"].map(of_model)
    frame["dataset"] = frame["dataset"].replace(facts.get("datasets", {}))
    if facts["test_sizes"]:
        sizes = frame["dataset"].map(published.published_sizes)
        frame["n_test"] = [float(size.n_test) if size else float("nan") for size in sizes]
    elif "n_test" in facts:
        frame["n_test"] = frame["dataset"].map(facts["n_test"]).astype("float64")
    return replace(source, frame=frame)


def _with_rows_of(grid: Grid, name: str) -> Grid:
    """Join a table with a row per model to the rows of another table, whose models they are."""
    own = grid.body.set_axis([names[-1] for names in grid.header], axis=1)
    other = read_grid(published.csv_bytes(name), name)
    rows = other.body.set_axis([names[-1] for names in other.header], axis=1)
    table = rows.merge(own.drop(columns="source"), on="model", validate="many_to_one")
    return grid_of_frame(table)


def _read_store(path: Path) -> ResultsTable:
    store = ResultStore(path)
    results = store.results()
    if not results:
        raise TableError(f"{path} holds no results yet: run a study first", code="table.empty")
    frame = tidy(
        pd.DataFrame([_row(result) for result in results]), str(path), ReadOptions("proportion")
    ).frame
    facts = {"name": str(path), "kind": "store", "unit": "proportion", "unit_rule": "a store",
             "rows": len(frame), "digitised": False}  # fmt: skip
    # A store may have been copied without the folder beside it: what needs none of it is given.
    present = store.with_predictions()
    facts["without_predictions"] = len(results) - len(present)
    trials = pd.DataFrame([_trial(result) for result in results], columns=list(TRIAL_COLUMNS))

    def reader(key: str) -> Callable[[], Prediction]:
        return lambda: store.predictions(key)

    return ResultsTable(frame, (facts,), trials, {key: reader(key) for key in present})


def _row(result: Result) -> dict[str, Any]:
    row = result_row(result)
    names = ("model", "upstream_accuracy", "dataset", "content", "setting", "protocol", "metric",
             "accuracy", "n_test", "seed", "limit", "precision", "key", "batch_size",
             *SWEEPS)  # fmt: skip
    upstream = result.trial.model.upstream
    return {
        **{name: row[name] for name in names},
        "upstream_name": _upstream_name(upstream[0]) if upstream else None,
        "family": result.trial.model.tags.get("family"),
        "n_train": _n_train(result),
        "n_classes": len(result.trial.dataset.classes),
    }


def _upstream_name(upstream: UpstreamAccuracy) -> str:
    return f"{upstream.dataset.removesuffix(' validation')} {upstream.metric} accuracy"


def _said(value: Value) -> str:
    return value if isinstance(value, str) else number_label(value)


def _trial(result: Result) -> dict[str, Any]:
    """State how a stored number was made."""
    row, provenance = result_row(result), result.provenance
    chosen = result.selection.chosen if result.selection else {}
    versions = {"python": provenance.get("python"), **provenance.get("versions", {})}
    return {
        **{name: row[name] for name in TRIAL_COLUMNS if name in row},
        "n_train": _n_train(result),
        "chosen": ", ".join(f"{name} {_said(value)}" for name, value in chosen.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items() if value),
        "examples": provenance.get("examples"),
        "weights": result.trial.model.weights.sha256,
        "left_out": sorted(left_out([result])),
        "data_warnings": list(data_warnings([result]).get(result.trial.dataset.name, {})),
    }


def _n_train(result: Result) -> int:
    """Count the images that the final classifier was fitted to.

    Train and validation; train alone where its size is what is studied.
    """
    dataset = result.trial.dataset
    sizes = dataset.used_sizes
    return sizes.train + (0 if dataset.examples_per_class else sizes.validation)


def _families(frame: pd.DataFrame) -> str:
    """Return whether a table names its models' families, or they are guessed from the names."""
    given = "family" in frame and frame["family"].notna().all()
    return "given" if given else "guessed"


def _with_families(frame: pd.DataFrame) -> pd.DataFrame:
    """Guess the families that are not given, and merge spellings of one family."""
    guessed = frame["model"].map(families_of(frame["model"].unique()))
    known = frame["family"] if "family" in frame else pd.Series(None, frame.index, dtype=object)
    family = known.where(known.notna() & (known != ""), guessed).astype(str)
    return frame.assign(family=family.map(merge_spellings(family)))


def read_references(path: Path | str, unit: Unit | None = None) -> pd.DataFrame:
    """Read reference accuracies: the previous state of the art, say.

    Parameters
    ----------
    path
        A table (CSV, JSON, Excel, ...) with a column ``dataset``, and either ``accuracy`` and
        ``label``, or one column of accuracies per label, named by it. Cells may be empty.
    unit
        What the accuracies are given in; settled by their size where not stated.

    Returns
    -------
    pandas.DataFrame
        dataset, accuracy (proportion), label: the option `references` of the figure ``settings``.

    Raises
    ------
    TableError
        No column ``dataset`` or no accuracies, or accuracies that cannot be.
    """
    path = Path(path)
    with storage_errors(path, reading=True):
        grid = read_grid(path.read_bytes(), str(path))
    frame = grid.body.set_axis([names[-1].strip() for names in grid.header], axis=1)
    if "dataset" not in frame or len(frame.columns) < 2 or not frame.columns.is_unique:
        raise TableError(
            f"{path}: expected a column dataset and columns of accuracies, "
            f"found {', '.join(frame.columns)}",
            code="table.references", found=list(frame.columns),
        )  # fmt: skip
    if "accuracy" in frame:
        label = frame.get("label", "reference")
        long = frame[["dataset", "accuracy"]].assign(label=label)
    else:
        long = frame.melt("dataset", var_name="label", value_name="accuracy")
    # One table of results, whose models are the labels: the same checks hold.
    mapping = {"model": "label", "setting": ":reference"}
    results = arrange(grid_of_frame(long), mapping, str(path), wide=False, dataset="").frame
    found = tidy(results, str(path), ReadOptions(unit)).frame
    return found.rename(columns={"model": "label"})[["dataset", "accuracy", "label"]]
