"""The tables of an analysis as figures draw them: numbers as coordinates, texts, styles, order.

`FigureData` makes each table once, for print and for the page. A chart names the tables that it
draws; a page holds each table once and gives it to every chart. There the reader may hide settings,
datasets and models: a chart has them as three parameters, lists of what is hidden, and filters its
own rows.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from headstart.figures.figure_text import telling_head
from headstart.figures.style import Style, class_styles, marker_styles, setting_styles
from headstart.predictors import UPSTREAM_ACCURACY, Predictor
from headstart.spec.formatting import (
    CELL_TESTS,
    Affixes,
    Names,
    interval,
    known,
    number,
    role,
    setting_label,
)

__all__ = [
    "FigureData",
    "Tables",
    "as_key",
    "flags",
    "log_odds",
    "optional",
]

Tables = Mapping[str, pd.DataFrame]
Floats = NDArray[np.float64]
NO_FAMILY = "unknown family"
UNKNOWN = "unknown"
SIGNIFICANT = 6  # digits of the numbers in a page
VERDICTS = ("best", "not_different")
# Properties that every object of JavaScript has.
OBJECT_PROPERTIES = frozenset((
    "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__",
    "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString",
    "toString", "valueOf",
))  # fmt: skip


def optional(tables: Tables, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return an optional table, empty if it or one of the columns is missing."""
    found = tables.get(table)
    if found is None or not set(columns) <= set(found.columns):
        return pd.DataFrame(columns=list(columns))
    return found


def flags(values: Iterable[Any]) -> NDArray[np.bool_]:
    """Return which values are true, (n,); unknown ones (None, NaN) are not."""
    return np.array([isinstance(value, bool | np.bool_) and bool(value) for value in values], bool)


def near_best(table: pd.DataFrame, panel: Sequence[str]) -> NDArray[np.bool_]:
    """Return which models are not significantly different from the best of their panel, (n,).

    Where no model was tested against the best, the best is not flagged either; without the columns
    `best` and `not_different` no model is. Columns `panel` are the same within a panel.
    """
    if not set(VERDICTS) <= set(table.columns):
        return np.zeros(len(table), bool)
    tested = (table["not_different"].notna() & ~flags(table["best"])).to_numpy(dtype=bool)
    keys = [table[column].to_numpy() for column in panel]
    any_tested = pd.Series(tested).groupby(keys).transform("any").to_numpy(dtype=bool)
    return np.asarray(flags(table["not_different"]) & any_tested)


def log_odds(accuracy: ArrayLike) -> Floats:
    """Return log odds of accuracies in [0, 1]; 0 and 100 % are drawn as 0.01 % and 99.99 %."""
    return np.asarray(logit(np.clip(np.asarray(accuracy, dtype=float), 1e-4, 1 - 1e-4)))


@dataclass(frozen=True, eq=False)
class FigureData:
    """What figures draw: tables of an analysis by name, of which any may be missing."""

    tables: Tables
    predictor: Predictor = UPSTREAM_ACCURACY
    # Whether a reader may hide settings, datasets and models, as on the page.
    interactive: bool = False

    @cached_property
    def names(self) -> Names:
        """The settings, datasets and models, in their order."""
        return Names.of(self.tables)

    def names_in(self, table: pd.DataFrame, kind: str) -> list[str]:
        """Return the settings, datasets or models of a table, by `kind` its column, in order."""
        there = set(table[kind].astype(str))
        return [name for name in self.names.places[kind] if name in there]

    @cached_property
    def affixes(self) -> Affixes:
        """What all names of models begin and end with; labels leave it out."""
        return Affixes.of(self.names.models)

    @cached_property
    def head(self) -> int:
        """How many letters at the start of long names their labels keep."""
        return telling_head(map(self.affixes.short, self.names.models))

    @property
    def left_out(self) -> str:
        """What its captions say of that, behind a space."""
        return f" {self.affixes.note}".rstrip()

    @cached_property
    def setting_styles(self) -> dict[str, Style]:
        """The style of each setting, the same in all figures."""
        return setting_styles(self.names.settings)

    @cached_property
    def family_styles(self) -> dict[str, Style]:
        """The style of each model family; those with most models have one of their own."""
        columns = ["model", "family"]
        own = [optional(self.tables, name, columns) for name in ("cells", "model_means", "ranks")]
        families = pd.concat([table[columns].astype(object) for table in own]).drop_duplicates()
        return marker_styles(families["family"].fillna(NO_FAMILY).astype(str), "other families")

    def styles_in(self, table: pd.DataFrame) -> dict[str, Style]:
        """Return the styles of the families of a table."""
        families = set(table["family"])
        return {name: style for name, style in self.family_styles.items() if name in families}

    def styled(self, table: pd.DataFrame) -> pd.DataFrame:
        """Sort rows by model, and add label, colour and shape of their setting and family."""
        models = self.names.places["model"]
        table = table.assign(model_place=[models[str(name)] for name in table["model"]])
        table = table.sort_values("model_place", kind="stable", ignore_index=True)
        table = table.assign(setting_label=[setting_label(name) for name in table["setting"]])
        settings = [self.setting_styles[name] for name in table["setting"]]
        table = in_styles(table, "setting_", settings)
        if "family" in table:
            table = table.assign(family=table["family"].fillna(NO_FAMILY).astype(str))
            table = in_styles(table, "", [self.family_styles[name] for name in table["family"]])
        return table

    def predicted_by(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add the predictor as a coordinate `x` and as text, where the table has it."""
        if self.predictor.column not in table:
            return table.assign(x=np.nan, predictor_text=UNKNOWN)
        values = table[self.predictor.column].astype(float).to_numpy()
        return table.assign(
            x=self.coordinates(values),
            predictor_text=[self.predictor.scale.text(value) for value in values],
        )

    def coordinates(self, values: ArrayLike) -> Floats:
        """Return values of the predictor on its scale, NaN where it has no coordinate."""
        x = np.asarray(values, dtype=float)
        if self.predictor.scale.name == "proportion":
            x = np.clip(x, 1e-4, 1 - 1e-4)
        allowed = self.predictor.scale.allows(x)
        return self.predictor.scale.coordinates(np.where(allowed, x, np.nan))

    @cached_property
    def one_dataset(self) -> bool:
        """Whether there is one dataset: means over datasets are its accuracies."""
        return bool(optional(self.tables, "cells", ["dataset"])["dataset"].nunique() == 1)

    @cached_property
    def means(self) -> pd.DataFrame:
        """Mean log odds of each model and setting, with an interval or a standard error."""
        columns = ["setting", "model", "family", "mean"]
        means = complete(
            optional(self.tables, "model_means", columns), "low", "high", "se", "error_bars"
        )
        means = means[means["mean"].notna()]
        if self.one_dataset:
            # Its accuracies are tested, and have intervals, by their images.
            own = complete(self.tables["cells"], "low", "high", *VERDICTS)
            own = own[["setting", "model", "low", "high", *VERDICTS]]
            own = own.assign(low=log_odds(own["low"]), high=log_odds(own["high"]))
            old = ["low", "high", "se", *VERDICTS]
            means = means.drop(columns=old, errors="ignore").merge(own, "left").assign(se=np.nan)
        # Where no mean has an interval, a standard error to each side.
        means = self.predicted_by(self.styled(means))
        bars = intervals(means)
        texts = between(bars, digits=3)
        if self.one_dataset:
            texts = between(expit(bars), digits=1, scale=100, unit=" %")
        return means.assign(
            mean_low=bars["low"],
            mean_high=bars["high"],
            mean_interval=texts,
            mean_near=near_best(means, ["setting"]),
        )

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Accuracies of models on datasets, with what the means average."""
        columns = ["setting", "model", "dataset", "log_odds"]
        cells = complete(
            optional(self.tables, "cells", columns),
            *("family", "adjusted", "low", "high", "residual", "n_seeds", "seed_sd"),
        )
        cells = cells[cells["log_odds"].notna()]
        if "accuracy" not in cells:
            cells = cells.assign(accuracy=expit(cells["log_odds"].to_numpy(dtype=float)))
        cells = self.predicted_by(self.styled(cells))
        cells = cells.assign(
            low_odds=log_odds(cells["low"]),
            high_odds=log_odds(cells["high"]),
            accuracy_text=[f"{number(100 * p)} %" for p in cells["accuracy"]],
            interval=between(cells, digits=1, scale=100, unit=" %"),
            residual_text=[number(residual, plus=True) for residual in cells["residual"]],
            seeds=[
                f"{row.n_seeds:.0f} (SD {number(row.seed_sd)} in log odds)"
                if known(row.n_seeds) and row.n_seeds > 1
                else "1"
                for row in cells.itertuples()
            ],
            near=near_best(cells, ["setting", "dataset"]),
        ).drop(columns="accuracy")
        average = ["mean_low", "mean_high", "mean_interval", "mean_near"]
        means = self.means[["setting", "model", *average]]
        cells = cells.merge(means.assign(averaged=True), on=["setting", "model"], how="left")
        return cells.assign(
            averaged=flags(cells["averaged"]),
            mean_near=flags(cells["mean_near"]),
            mean_interval=cells["mean_interval"].astype(object).fillna(UNKNOWN),
        )

    @cached_property
    def own_models(self) -> set[str]:
        """The own models among published ones."""
        return set(map(str, optional(self.tables, "above_line", ["model"])["model"]))

    @cached_property
    def tests(self) -> str:
        """How models were held against the best of their dataset."""
        tests = set(optional(self.tables, "cells", ["test"])["test"])
        return "; ".join(label for test, label in CELL_TESTS.items() if test in tests)

    @cached_property
    def bands(self) -> pd.DataFrame:
        """The bootstrap bands around the least-squares lines."""
        columns = ["setting", "group", self.predictor.column, "log_odds", "low", "high"]
        lines = optional(self.tables, "lines", columns)
        lines = lines[lines["low"].notna()]
        lines = lines.rename(columns={"low": "band_low", "high": "band_high"})
        return self.predicted_by(lines)[["setting", "group", "x", "band_low", "band_high"]]

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """The known Pearson correlations in log odds."""
        columns = ["setting", "group", "statistic", "estimate", "low", "high"]
        found = optional(self.tables, "correlations", columns)
        return found[(found["statistic"] == "pearson_logit") & found["estimate"].notna()]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Each fine-tuned cell with its model and dataset trained from scratch."""
        roles = np.array([role(name) for name in self.cells["setting"]], dtype=object)
        wanted = ["model", "dataset", "setting", "log_odds", "accuracy_text"]
        scratch = self.cells.loc[roles == "scratch", wanted]
        pairs = self.cells[roles == "finetune"].merge(
            scratch, on=["model", "dataset"], suffixes=("", "_scratch")
        )
        styles = marker_styles(pairs["dataset"].astype(str), "other datasets")
        return in_styles(pairs, "dataset_", [styles[str(name)] for name in pairs["dataset"]])

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Ranks with their intervals, best first within a setting."""
        columns = ["setting", "model", "family", "rank", "low", "high"]
        ranks = optional(self.tables, "ranks", columns)
        ranks = ranks[ranks["rank"].notna()]
        ranks = self.styled(ranks).sort_values("rank", kind="stable", ignore_index=True)
        return ranks.assign(
            place=ranks.groupby("setting", sort=False).cumcount(),
            interval=between(ranks, digits=0),
        )

    def sweep(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return a sweep with its error bars as positions and as text."""
        found = optional(self.tables, table, ["setting", "model", "mean", *columns])
        found = complete(found[found["mean"].notna()], "low", "high", "se")
        found = self.predicted_by(self.styled(found))
        bars = intervals(found)
        return found.assign(
            low=bars["low"],
            high=bars["high"],
            mean_text=[number(mean, 3) for mean in found["mean"]],
            interval=between(bars),
        )

    @cached_property
    def ablation(self) -> pd.DataFrame:
        """Mean log odds by training configuration."""
        table = self.sweep("ablation", ["configuration", "position"])
        styles = marker_styles(table["model"].astype(str), "other models")
        return in_styles(table, "model_", [styles[str(name)] for name in table["model"]])

    @cached_property
    def convergence(self) -> pd.DataFrame:
        """Mean log odds by training steps."""
        table = self.sweep("convergence", ["steps"]).sort_values("steps", kind="stable")
        return table[table["steps"] > 0]

    @cached_property
    def reached(self) -> pd.DataFrame:
        """Steps to 90 % of the largest odds: geometric means over datasets."""
        table = optional(self.tables, "reached", ["setting", "model", "steps", "at_first"])
        table = table[table["steps"].notna()]
        found = [
            {"setting": setting, "model": model,
             "steps": float(np.exp(np.log(own["steps"].to_numpy(dtype=float)).mean())),
             "at_first": bool(own["at_first"].all())}
            for (setting, model), own in table.groupby(["setting", "model"])
        ]  # fmt: skip
        columns = ["setting", "model", "steps", "at_first"]
        return self.styled(pd.DataFrame(found, columns=columns))

    @cached_property
    def dataset_size(self) -> pd.DataFrame:
        """Log odds by the number of training examples per class."""
        table = self.sweep("dataset_size", ["dataset", "examples_per_class"])
        return table[table["examples_per_class"] > 0]

    @cached_property
    def points(self) -> pd.DataFrame:
        """The images of an embedding: class, style, places x0, y0, x1, ... for each network."""
        points = self.tables["embedding"]
        images = self.tables.get("images", points[["image", "class"]].drop_duplicates("image"))
        table = images.set_index("image").drop(columns="tiny", errors="ignore")
        styles = class_styles(table["class"].astype(str))
        table = in_styles(table, "", [styles[str(name)] for name in table["class"]])
        places = [
            own.set_index("image")[["x", "y"]].round(3).add_suffix(str(position))
            for position, own in points.groupby("position", sort=True)
        ]
        return pd.concat([table, *places], axis=1).reset_index()

    def frames(self, *charts: Any) -> dict[str, pd.DataFrame]:
        """Return each table that charts name, its columns those that they mention.

        Names in it are keys (`as_key`), as in charts.
        """
        mentioned: dict[str, set[str]] = {}
        for chart in map(json.dumps, charts):
            words = set(re.findall(r"(?<=[\"'])\w+(?=\\?[\"'])|(?<=datum\.)\w+", chart))
            for name in re.findall(r'"data": {"name": "(\w+)"}', chart):
                mentioned.setdefault(name, set()).update(words)
        tables = {name: getattr(self, name) for name in sorted(mentioned)}
        return {
            name: table[[column for column in table if column in mentioned[name]]].map(as_key)
            for name, table in tables.items()
        }

    def page_tables(self, charts: Iterable[Any]) -> dict[str, dict[str, Any]]:
        """Return every table that the charts of a page name, column by column, for JSON.

        Numbers are rounded, unknown ones None.
        """
        return {
            name: {column: packed_column(list(table[column])) for column in table}
            for name, table in self.frames(*charts).items()
        }


def in_styles(table: pd.DataFrame, kind: str, styles: Sequence[Style]) -> pd.DataFrame:
    """Add colour and shape of each row's style, as columns whose names begin with `kind`."""
    looks = {"colour": [one.colour for one in styles], "shape": [one.shape for one in styles]}
    return table.assign(**{f"{kind}{name}": values for name, values in looks.items()})


def complete(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the table with the optional `columns`, unknown where it lacks them."""
    return table.assign(**{name: np.nan for name in columns if name not in table})


def intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Return `low` and `high`: the intervals, or a standard error to each side if there are none.

    An unknown length is 0: nothing is drawn.
    """
    if table["low"].notna().any():
        return table[["low", "high"]].astype(float)
    mean, se = table["mean"].astype(float), table["se"].astype(float)
    return pd.DataFrame({"low": mean - se, "high": mean + se})


def between(table: pd.DataFrame, digits: int = 2, scale: float = 1, unit: str = "") -> list[str]:
    """Return the intervals of a table as text."""
    texts = [interval(row.low, row.high, digits, scale) for row in table.itertuples()]
    return [text + unit if text else UNKNOWN for text in texts]


def as_key(value: Any) -> Any:
    """Return a value as charts have it: a name that is a property of all objects with a space.

    Vega keeps dictionaries of names in objects, in which it would find these properties. The space
    behind the name is not seen.

    Examples
    --------
    >>> as_key("constructor"), as_key("resnet50"), as_key(0.5)
    ('constructor ', 'resnet50', 0.5)
    """
    if isinstance(value, str) and value.rstrip(" ") in OBJECT_PROPERTIES:
        return f"{value} "
    return value


def packed_column(values: list[Any]) -> Any:
    """Return a column for JSON, as small as it can be read without effort.

    Where values are repeated, these are ``runs`` of so many ``times``; other texts are ``codes`` of
    ``levels``.
    """
    values = [plain(value) for value in values]
    values = [int(value) if isinstance(value, bool) else value for value in values]
    runs = [(value, len(list(run))) for value, run in groupby(values)]
    if 2 * len(runs) < len(values):
        lengths = [length for _, length in runs]
        same = len(set(lengths)) == 1
        return {"runs": [value for value, _ in runs], "times": lengths[0] if same else lengths}
    if not any(isinstance(value, str) for value in values):
        return values
    levels = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return {"levels": list(levels), "codes": [levels[value] for value in values]}


def plain(value: Any) -> Any:
    """Return a value as a plain Python type."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else None
    return value if value is None else str(value)
