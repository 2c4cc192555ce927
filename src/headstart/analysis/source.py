"""Where a table of results comes from: a store, a CSV, a published table, a DataFrame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from headstart.analysis import published
from headstart.analysis.agree import merge_agreeing
from headstart.analysis.columns import SWEEPS, parse_mapping, rename
from headstart.analysis.delimited import read_delimited
from headstart.analysis.families import families_of, merge_spellings
from headstart.analysis.table import Unit, tell_apart, tidy
from headstart.errors import TableError
from headstart.files import storage_errors
from headstart.spec import Prediction, Result, UpstreamAccuracy, Value
from headstart.spec.labels import number_label
from headstart.store import DATABASE_NAME, ResultStore, data_warnings, left_out, result_row

__all__ = ["TRIAL_COLUMNS", "Source", "SourceLike", "read_sources"]

SourceLike: TypeAlias = str | Path | pd.DataFrame
SQLITE = b"SQLite format 3\x00"
SAID = ("description", "citation", "digitised", "error")
TRIAL_COLUMNS = (
    "setting", "model", "dataset", "seed", "protocol", "metric", "precision", "limit", "n_train",
    "n_test", "chosen", "relative_gap", "unconverged", "skipped_images", "versions", "examples",
    "weights", "key", "seconds", "left_out", "data_warnings",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A tidy table of results, where it comes from, and how its numbers were made.

    Parameters
    ----------
    frame
        A row a result: model, family, dataset, setting, accuracy (proportion), and what else was
        there of `headstart.analysis.columns`.
    facts
        What a source is, a dict each: name, kind (store, csv, published, frame), unit and the rule
        that settled it, rows, families (given or guessed), and where there are such: description,
        citation, digitised, sha256.
    trials
        A row a stored result, `TRIAL_COLUMNS`.
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
    unit: Unit | None = None,
) -> Source:
    """Read sources and put them together to one table.

    Parameters
    ----------
    sources
        Each the path of a results store or of a CSV, the name of a published table
        (`headstart.analysis.published.NAMES`), or a DataFrame.
    columns
        Our column name -> theirs (or ":" and one value for all rows), for CSVs and DataFrames; or
        the same as text, ``"model=Model,setting:=linear"``.
    unit
        What accuracies are given in, for CSVs and DataFrames; settled by a rule where not stated.

    Raises
    ------
    TableError, StoreError, StorageError
    """
    if not sources:
        raise TableError("expected at least one source, found none")
    if unit not in (None, "percent", "proportion"):
        raise TableError(f"unit: expected percent or proportion, found {unit}")
    mapping = parse_mapping(columns) if isinstance(columns, str) else columns or {}
    read = [_read(source, dict(mapping), unit) for source in sources]
    frames = [one.frame for one in read]
    if len(read) > 1:
        # So that a message can name the row of a source.
        frames = [
            frame.set_axis([f"{one.facts[0]['name']}:{row}" for row in frame.index])
            for one, frame in zip(read, frames, strict=True)
        ]
    where = " and ".join(one.facts[0]["name"] for one in read)
    frame = merge_agreeing(tell_apart(pd.concat(frames)), where)
    return Source(
        frame=_with_families(frame),
        facts=tuple(
            {**fact, "families": _families(one.frame)} for one in read for fact in one.facts
        ),
        trials=pd.concat([one.trials for one in read], ignore_index=True),
        predictions={key: get for one in read for key, get in one.predictions.items()},
    )


def _read(source: SourceLike, columns: dict[str, str], unit: Unit | None) -> Source:
    if isinstance(source, pd.DataFrame):
        # Rows are told by their place: an index may repeat itself, or be a column, too.
        return _table(source.reset_index(drop=True), "the table", {"kind": "frame"}, columns, unit)
    if not isinstance(source, str | Path):
        raise TableError(f"expected a path, a name or a DataFrame as source, found {source!r:.60}")
    if str(source) in published.NAMES and not Path(source).exists():
        return _read_published(str(source))
    path = Path(source)
    with storage_errors(path, reading=True):
        # A name that is too long for the file system says so here.
        path.exists()
    if path.is_dir() and (path / DATABASE_NAME).exists():
        path = path / DATABASE_NAME
    if path.is_dir() or not path.exists():
        what = f"a folder without {DATABASE_NAME}" if path.is_dir() else "nothing there"
        near = get_close_matches(str(source), published.NAMES, n=1, cutoff=0.7)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise TableError(
            f"source '{source}': expected a results store, a CSV, or one of the published tables "
            f"{', '.join(published.NAMES)}; found {what}{hint}"
        )
    with storage_errors(path, reading=True), path.open("rb") as file:
        is_store = file.read(len(SQLITE)) == SQLITE
    if is_store:
        return _read_store(path)
    with storage_errors(path, reading=True):
        content = path.read_bytes()
    facts = {"kind": "csv", "sha256": sha256(content).hexdigest()}
    return _table(read_delimited(content, str(path)), str(path), facts, columns, unit)


def _table(
    frame: pd.DataFrame,
    name: str,
    facts: dict[str, Any],
    columns: dict[str, str],
    unit: Unit | None,
) -> Source:
    found = tidy(rename(frame, columns, name), name, unit)
    said: dict[str, Any] = {"name": name, **facts, "unit": found.unit, "unit_rule": found.rule}
    said |= {
        "columns": columns,
        "rows": len(found.frame),
        "digitised": facts.get("digitised", False),
    }
    said |= {"without_accuracy": found.without_accuracy}
    return Source(found.frame, (said,), pd.DataFrame(columns=list(TRIAL_COLUMNS)))


def _read_published(name: str) -> Source:
    facts, content = published.facts(name), published.csv_bytes(name)
    table = read_delimited(content, name)
    if "rows_of" in facts:
        rows = read_delimited(published.csv_bytes(facts["rows_of"]), facts["rows_of"])
        table = rows.merge(table.drop(columns="source"), on="model", validate="many_to_one")
    families = facts.pop("families", {})
    said: dict[str, Any] = {"kind": "published", "sha256": sha256(content).hexdigest()}
    said |= {name: value for name, value in facts.items() if name in SAID}
    source = _table(table, name, said, facts["columns"], facts["unit"])
    frame = source.frame.assign(upstream_name=facts["upstream_name"])
    if families:
        of_model = {model: family for family, models in families.items() for model in models}
        frame["family"] = frame["model"].map(of_model)
    if facts["test_sizes"]:
        sizes = frame["dataset"].map(published.published_sizes)
        frame["n_test"] = [float(size.n_test) if size else float("nan") for size in sizes]
    return Source(frame, source.facts, source.trials)


def _read_store(path: Path) -> Source:
    store = ResultStore(path)
    results = store.results()
    if not results:
        raise TableError(f"{path} holds no results yet: run something first")
    frame = tidy(pd.DataFrame([_row(result) for result in results]), str(path), "proportion").frame
    facts = {"name": str(path), "kind": "store", "unit": "proportion", "unit_rule": "a store",
             "rows": len(frame), "digitised": False}  # fmt: skip
    trials = pd.DataFrame([_trial(result) for result in results], columns=list(TRIAL_COLUMNS))

    def reader(key: str) -> Callable[[], Prediction]:
        return lambda: store.predictions(key)

    return Source(
        frame, (facts,), trials, {result.trial.key: reader(result.trial.key) for result in results}
    )


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
    }


def _upstream_name(upstream: UpstreamAccuracy) -> str:
    return f"{upstream.dataset.removesuffix(' validation')} {upstream.metric} accuracy"


def _said(value: Value) -> str:
    return value if isinstance(value, str) else number_label(value)


def _trial(result: Result) -> dict[str, Any]:
    """Say how a stored number was made."""
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
    """Say whether a table names its models' families, or they are guessed from the names."""
    given = "family" in frame and frame["family"].notna().all()
    return "given" if given else "guessed"


def _with_families(frame: pd.DataFrame) -> pd.DataFrame:
    """Guess the families that are not given, and merge spellings of one family."""
    guessed = frame["model"].map(families_of(frame["model"].unique()))
    known = frame["family"] if "family" in frame else pd.Series(None, frame.index, dtype=object)
    family = known.where(known.notna() & (known != ""), guessed).astype(str)
    return frame.assign(family=family.map(merge_spellings(family)))
