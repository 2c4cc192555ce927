"""Sources of tables of results: stores, files, published tables, DataFrames."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from headstart.analysis import published
from headstart.analysis.tables.canonical_names import NameKind, spelt_differently
from headstart.analysis.tables.column_names import (
    NUMBERS,
    PREDICTOR,
    SCORES,
    SWEEPS,
    parse_mapping,
    resolve,
)
from headstart.analysis.tables.example_tables import holds_examples, read_examples
from headstart.analysis.tables.file_formats import read_grid
from headstart.analysis.tables.joined_tables import (
    TRIAL_COLUMNS,
    ResultsTable,
    count_duplicates,
    join_tables,
)
from headstart.analysis.tables.table_layout import arrange, check_bad
from headstart.analysis.tables.text_tables import Grid, grid_of_frame
from headstart.analysis.tables.tidy_table import ReadOptions, Unit, tidy
from headstart.errors import TableError
from headstart.files import storage_errors
from headstart.predictors import Predictor
from headstart.shown_text import url_without_credentials
from headstart.spec import Prediction, Result
from headstart.spec.formatting import number_label
from headstart.store import (
    DATABASE_NAME,
    Page,
    ResultStore,
    data_warnings,
    is_store_url,
    left_out,
    result_row,
)

__all__ = ["SourceLike", "read_references", "read_sources", "store_of"]


class ToPandas(Protocol):
    """A table of polars, Arrow and others."""

    def to_pandas(self) -> pd.DataFrame:
        """Return it as a DataFrame of pandas."""
        ...


SourceLike: TypeAlias = str | Path | pd.DataFrame | ToPandas
SQLITE = b"SQLite format 3\x00"
# What may stand after the question mark of a file, beside columns.
FILE_OPTIONS = ("unit", "measure", "spread", "sheet", "table")
# Names or patterns after the question mark of a store, joined by "+": what is read of it.
STORE_OPTIONS = ("model", "dataset", "setting")
SAID = ("description", "citation", "digitised", "error")


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
        Each the path or URL of a results store, the path of a table in any format of
        `headstart.analysis.tables.file_formats`, the name of a published table
        (`headstart.analysis.published.NAMES`), or a DataFrame: model, accuracy, and where known
        dataset, setting, upstream_accuracy, metric, n_test, seed, se, family, n_train,
        configuration, steps, examples_per_class. What holds for one file alone
        follows its path after a question mark, as in `columns`: ``a.csv?dataset:=food101``; there
        ``unit``, ``measure``, ``sheet`` and ``table`` may stand, too. After that of a store stands
        what is read of it: ``results.db?setting=linear,model=resnet*+vit*``.
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
    return join_tables(read, options.predictor, average=options.duplicates == "average")


def _is_published(source: str | Path) -> bool:
    return str(source) in published.NAMES and not Path(source).exists()


def store_of(source: SourceLike) -> Path | str | None:
    """Return the results store that a source is, None where it is a table.

    Raises
    ------
    StorageError
        It cannot be read.
    """
    if not isinstance(source, str | Path) or _is_published(source):
        return None
    path, _ = _parted(source)
    if isinstance(path, str):
        return path
    if path.is_dir() and (path / DATABASE_NAME).exists():
        path = path / DATABASE_NAME
    if path.is_dir() or not path.exists():
        return None
    with storage_errors(path, reading=True), path.open("rb") as file:
        return path if file.read(len(SQLITE)) == SQLITE else None


def _read(
    source: SourceLike, columns: dict[str, str], options: ReadOptions, *, of_examples: bool = False
) -> ResultsTable:
    if not isinstance(source, str | Path | pd.DataFrame) and hasattr(source, "to_pandas"):
        source = source.to_pandas()
    if isinstance(source, pd.DataFrame):
        grid, facts = grid_of_frame(source), {"kind": "frame"}
        return _of_grid(grid, "the table", facts, columns, options, of_examples)
    if not isinstance(source, str | Path):
        raise TableError(
            "expected a path, a name, or a DataFrame of pandas or polars as source, found "
            f"{type(source).__name__}",
            code="table.source",
        )
    if _is_published(source):
        return _read_published(str(source), options.predictor)
    place, own = _parted(source)
    if store := store_of(source):
        return _read_store(store, _page(url_without_credentials(str(source)), own))
    path = Path(place)
    if path.is_dir() or not path.exists():
        raise _not_there(source, path)
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


def _parted(source: str | Path) -> tuple[Path | str, dict[str, str]]:
    """Part a path, or the URL of a store, from what follows a question mark."""
    name, _, own = str(source).rpartition("?")
    if is_store_url(source):
        # Which results are meant; other options are the connection's.
        ours = own.partition("=")[0] in STORE_OPTIONS
        return (name, parse_mapping(own, FILE_OPTIONS)) if ours else (str(source), {})
    path = Path(source)
    with storage_errors(path, reading=True):
        # A file may have that name; one that is too long for the file system says so here.
        if path.exists() or "?" not in str(source):
            return path, {}
    mapping = parse_mapping(own, FILE_OPTIONS)
    for key in FILE_OPTIONS:
        if key in mapping and not mapping[key].startswith(":"):
            mapping[key] = ":" + mapping[key]
    return Path(name), mapping


def _not_there(source: SourceLike, path: Path) -> TableError:
    what = f"a folder without {DATABASE_NAME}" if path.is_dir() else "nothing there"
    near = get_close_matches(str(source), published.NAMES, n=1, cutoff=0.7)
    hint = f" (did you mean {near[0]}?)" if near else ""
    shown = url_without_credentials(str(source))
    return TableError(
        f"source '{shown}': expected a results store, a table (CSV, JSON, Excel, Parquet, "
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
    column = "" if options.predictor.column in NUMBERS else options.predictor.column
    values = None if of_examples or not column else _predictor_values(grid, columns, name, column)
    if values is not None:
        of_values = {"name": name, **facts, "kind": "predictor", "rows": len(values),
                     "digitised": False}  # fmt: skip
        return ResultsTable(values, (of_values,))
    predictions: Mapping[str, Callable[[], Prediction]] = {}
    if of_examples or holds_examples(grid, columns, name):
        frame, predictions, notes = read_examples(grid, columns, name, dataset)
        facts = facts | {"kind": "predictions"}
    else:
        frame, notes = arrange(
            grid, columns, name, wide=options.wide, dataset=dataset, predictor=column
        )
    frame, of_numbers, converted = tidy(frame, name, options if not predictions else ReadOptions())
    notes = [*grid.notes, *notes, *converted]
    if "se" in frame and frame["se"].notna().any():
        notes.append(
            f"spreads (±) are standard deviations over {options.runs} runs, divided by "
            f"sqrt({options.runs})"
            if options.runs > 1
            else "spreads (±) taken for standard errors; for standard deviations over N runs pass "
            "--spread sd:N"
        )
    kinds: tuple[NameKind, ...] = ("dataset", "model")
    for kind in kinds:
        for same in spelt_differently(kind, map(str, frame[kind])):
            notes.append(f"{kind}s {' and '.join(map(repr, same))} are taken for {len(same)}, "
                         "though they seem to be one in several spellings")  # fmt: skip
    if duplicates := count_duplicates(frame) if options.duplicates == "refuse" else 0:
        notes.append(f"{duplicates} duplicate rows dropped (equal to another row)")
    said: dict[str, Any] = {"name": name, "digitised": False, **facts, **of_numbers}
    said |= {"columns": columns, "rows": len(frame), "reading": notes, "duplicates": duplicates}
    return ResultsTable(frame, (said,), predictions=dict(predictions))


def _predictor_values(
    grid: Grid, mapping: Mapping[str, str], where: str, predictor: str
) -> pd.DataFrame | None:
    """Read a table of a predictor alone: model, its values and perhaps dataset; None for others."""
    found = resolve(grid, mapping, where, predictor=predictor)
    others = any(np.isfinite(found.numbers(place).value).any() for place in found.rest)
    if not {"model", PREDICTOR} <= set(found.columns) or others or any(map(found.has, SCORES)):
        return None
    values = found.numbers(found.columns[PREDICTOR][0])
    check_bad(values.bad, where)
    names: dict[str, pd.Series] = {
        kind: found.body[found.columns[kind][0]].astype(str).str.strip()
        for kind in ("model", "dataset")
        if kind in found.columns
    }
    return pd.DataFrame({**names, PREDICTOR: values.value}, index=found.rows)


def _read_published(name: str, predictor: Predictor) -> ResultsTable:
    facts, content = published.facts(name), published.csv_bytes(name)
    grid = read_grid(content, name)
    if "rows_of" in facts:
        # A table with a row per model: joined to the rows of another one, whose models they are.
        other = read_grid(published.csv_bytes(facts["rows_of"]), facts["rows_of"])
        own, rows = (one.body.set_axis([names[-1] for names in one.header], axis=1)
                     for one in (grid, other))  # fmt: skip
        own = own.drop(columns="source")
        grid = grid_of_frame(rows.merge(own, on="model", validate="many_to_one"))
    families = facts.pop("families", {})
    said: dict[str, Any] = {"kind": "published", "sha256": sha256(content).hexdigest()}
    said |= {name: value for name, value in facts.items() if name in SAID}
    options = ReadOptions(unit=facts["unit"], predictor=predictor)
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


def _page(source: str, own: Mapping[str, str]) -> Page:
    """Return which results of a store are meant: ``results.db?setting=linear,dataset=dtd+pets``."""
    if unknown := next((name for name in own if name not in STORE_OPTIONS), None):
        raise TableError(
            f"{source}: unknown option '{unknown}' of a store: expected {', '.join(STORE_OPTIONS)}",
            code="table.store_option",
            option=unknown,
        )
    models, datasets, settings = (
        tuple(filter(None, own.get(name, "").split("+"))) for name in STORE_OPTIONS
    )
    return Page(models, datasets, settings)


def _read_store(place: Path | str, page: Page) -> ResultsTable:
    store = ResultStore(place)
    results = store.results(page=page)
    if not results:
        raise TableError(
            f"{store.name} holds no results yet: run a study first", code="table.empty"
        )
    frame, _, _ = tidy(
        pd.DataFrame([_row(result) for result in results]), store.name, ReadOptions("proportion")
    )
    facts = {"name": store.name, "kind": "store", "unit": "proportion", "unit_rule": "a store",
             "rows": len(frame), "digitised": False}  # fmt: skip
    # A store may have been copied without the folder beside it: what needs none of it is given.
    present = store.with_predictions(None if page == Page() else {r.trial.key for r in results})
    facts["without_predictions"] = len(results) - len(present)
    facts["predictions"] = store.predictions_place
    trials = pd.DataFrame([_trial(result) for result in results], columns=list(TRIAL_COLUMNS))

    def reader(key: str) -> Callable[[], Prediction]:
        return lambda: store.predictions(key)

    return ResultsTable(frame, (facts,), trials, {key: reader(key) for key in present})


def _row(result: Result) -> dict[str, Any]:
    row = result_row(result)
    names = ("model", "upstream_accuracy", "dataset", "content", "setting", "protocol", "metric",
             "accuracy", "n_test", "seed", "limit", "precision", "key", "batch_size",
             *SWEEPS)  # fmt: skip
    model = result.trial.model
    upstream_name = None
    if model.upstream:
        first = model.upstream[0]
        upstream_name = f"{first.dataset.removesuffix(' validation')} {first.metric} accuracy"
    return {
        **{name: row[name] for name in names},
        "upstream_name": upstream_name,
        "family": model.tags.get("family"),
        "parameters": model.parameters,
        "multiply_adds": model.multiply_adds,
        "n_train": _n_train(result),
        "n_classes": len(result.trial.dataset.classes),
    }


def _trial(result: Result) -> dict[str, Any]:
    """State how a stored number was made."""
    row, provenance = result_row(result), result.provenance
    chosen = result.selection.chosen if result.selection else {}
    versions = {"python": provenance.get("python"), **provenance.get("versions", {})}
    return {
        **{name: row[name] for name in TRIAL_COLUMNS if name in row},
        "n_train": _n_train(result),
        "n_classes": len(result.trial.dataset.classes),
        "splits": result.trial.dataset.split_rule,
        "chosen": ", ".join(f"{name} {number_label(value)}" for name, value in chosen.items()),
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
    results, _ = arrange(grid_of_frame(long), mapping, str(path), wide=False, dataset="")
    found, _, _ = tidy(results, str(path), ReadOptions(unit))
    return found.rename(columns={"model": "label"})[["dataset", "accuracy", "label"]]
