"""An analysis -> tables for the screen."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headstart.analysis import (
    UPSTREAM,
    Analysis,
    prediction_summary,
    seeds_said,
    source_notes,
    still_rising,
)
from headstart.cli.output import plain_table
from headstart.spec.display_names import correlation_label, in_order, setting_label

__all__ = ["ablation", "prediction", "summary"]

# So many models of a setting fit a screen.
MOST_ROWS = 60
OTHERS = ("pearson_plain", "spearman", "kendall")


def summary(analysis: Analysis) -> Iterator[RenderableType]:
    """Return the parts that fit a screen, one after the other; what is missing comes last."""
    for source in analysis.sources:
        yield Text(_source_line(source))
    yield from _counts(analysis.counts)
    if said := seeds_said(analysis.cells):
        yield Text(said)
    if not analysis.correlations.empty:
        yield _heading(
            "Correlation across models: mean log odds over datasets with "
            + analysis.predictor.label
        )
        yield _correlations(analysis)
        yield from _mixed(analysis)
    yield from _means(analysis)
    if not analysis.settings.empty:
        yield _heading("Comparison of settings")
        yield _settings(analysis.settings)
    yield from ablation(analysis)
    if not analysis.model_sets.empty:
        yield _heading(_sets_heading(analysis))
        yield _model_sets(analysis.model_sets)
    yield from _speedups(analysis)
    yield from map(Text, prediction_summary(analysis.prediction))
    yield from _missing(analysis)


def ablation(analysis: Analysis) -> Iterator[RenderableType]:
    """Render mean log odds per model and training configuration, and the change at each step."""
    means = analysis.ablation
    if means.empty:
        return
    settings = in_order(means["setting"])
    columns = (
        "training",
        analysis.predictor.heading.lower(),
        *(setting_label(s) for s in settings),
    )
    table = plain_table(*columns, right=columns[1:])
    for model, of_model in means.groupby("model", sort=False):
        table.add_row(Text(str(model), style="bold"))
        ordered = of_model.sort_values("position", kind="stable")
        for configuration, rows in ordered.groupby("configuration", sort=False):
            by = {row.setting: row for row in rows.itertuples()}
            table.add_row(
                f"  {configuration}",
                _number(analysis.predictor.number(rows[analysis.predictor.column].mean()), 2),
                *(_mean_with_error(by[s]) if s in by else "-" for s in settings),
            )
    yield _heading("Mean log odds over datasets, by upstream training configuration")
    yield table
    if not analysis.effects.empty:
        yield _heading("Change in log odds from the previous configuration")
        yield _effects(analysis)


def prediction(predicted: pd.DataFrame) -> Table:
    """One row per setting and dataset: predicted accuracy with its interval, in percent."""
    numbers = ("predicted %", "95 % interval")
    table = plain_table("setting", "dataset", *numbers, "fit", "", right=numbers)
    for row in predicted.itertuples():
        remarks = [
            *(["outside the range of the models"] if row.extrapolated else []),
            *([f"interval widened x {row.widened:.1f}"] if row.widened > 1 else []),
        ]
        table.add_row(
            setting_label(row.setting),
            row.dataset,
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.low:.1f} to {100 * row.high:.1f}",
            row.fit,
            ", ".join(remarks),
        )
    return table


def _source_line(source: dict[str, Any]) -> str:
    """Return what a source is, how it was understood and how its names meet earlier ones."""
    against = "against " if "against" in source else ""
    parts = [f"{against}{source['name']}: {source['rows']} results"]
    if source["kind"] not in ("store", "predictions"):
        parts.append(f"accuracies in {source['unit']} ({source['unit_rule']})")
    if "citation" in source:
        parts.append(str(source["citation"]))
    if "against" in source and "description" in source:
        parts.append(str(source["description"]))
    lines = [", ".join(parts)]
    if source.get("digitised"):
        lines.append(f"DIGITISED: {source['error']}")
    return "\n".join([*lines, *source_notes(source)])


def _correlations(analysis: Analysis) -> Table:
    """One row per group of datasets, under the name of its setting."""
    numbers = ("r (logit)", "95 % interval", "by family", "plain", "rho", "tau")
    table = plain_table("datasets (how many)", *numbers, right=numbers)
    datasets = set(analysis.cells["dataset"])
    shown = analysis.correlations[~analysis.correlations["group"].isin(datasets)]
    for setting in in_order(shown["setting"]):
        of_setting = shown[shown["setting"] == setting]
        n_models = of_setting["n_models"].iloc[0]
        table.add_row(Text(f"{setting_label(setting)}, {n_models} models", style="bold"))
        for group, rows in of_setting.groupby("group", sort=False):
            by = rows.set_index("statistic")
            r = by.loc["pearson_logit"]
            table.add_row(
                f"  {group} ({r['n_datasets']})",
                _coefficient(r["estimate"]),
                _coefficients(r["low"], r["high"]),
                _coefficients(r["low_family"], r["high_family"]),
                *(_coefficient(by.loc[name, "estimate"]) for name in OTHERS),
            )
    return table


def _mixed(analysis: Analysis) -> Iterator[Text]:
    increase = analysis.predictor.scale.label(analysis.predictor.label)
    for row in analysis.mixed.itertuples():
        warning = "" if row.converged else "; the fit did not converge"
        slopes = "random slopes by dataset" if row.random_slopes else "one slope for all datasets"
        test = (
            f"; test of equal slopes on all datasets: F({row.f_df:.0f}, {row.f_df_residual:.0f}) "
            f"= {row.f:.1f}, {_p(row.f_p)}"
            if pd.notna(row.f)
            else ""
        )
        yield Text(
            f"{setting_label(row.setting)}: a 1-unit increase in {increase} "
            f"is associated with a change of {row.slope:+.3f} in log odds (95 % interval "
            f"{row.low:.3f} to {row.high:.3f}, standard error {row.se:.3f}; mixed model with "
            f"{slopes}, crossed random intercepts of model and dataset){test}{warning}",
            style="dim",
        )


def _counts(counts: pd.DataFrame) -> Iterator[Text]:
    """Print first what everything rests on."""
    for row in counts.itertuples():
        cells = f"{row.n_cells:,} cells"
        if row.n_missing:
            cells = (
                f"{row.n_cells:,} of {row.n_cells + row.n_missing:,} cells; means over datasets "
                "are adjusted for the missing ones (additive model of models and datasets)"
            )
        yield Text(
            f"{setting_label(row.setting)}: {_count(row.n_models, 'model')} on "
            f"{_count(row.n_datasets, 'dataset')}, {cells}"
        )


def _means(analysis: Analysis) -> Iterator[RenderableType]:
    """A table per setting, the best model first."""
    means = analysis.model_means
    ranks = analysis.ranks.set_index(["setting", "model"])
    means = means.rename(columns={analysis.predictor.column: "predictor"})
    for setting in in_order(means["setting"]):
        rows = means[means["setting"] == setting]
        rest = rows[~rows["best"].astype(bool)]
        compared = bool(rest["not_different"].notna().any())
        holed = bool((rows["n_datasets"] < rows["of_datasets"]).any())
        numbers = [analysis.predictor.heading.lower(), "mean %", "mean log odds"]
        numbers += ["datasets"] if holed else []
        numbers += ["vs. best", "95 % interval", "odds ratio", "rank"] if compared else []
        table = plain_table("model", *numbers, right=tuple(numbers))
        for row in rows.head(MOST_ROWS).itertuples():
            cells = [
                _number(analysis.predictor.number(row.predictor), 2),
                f"{100 * row.accuracy:.2f}",
                _mean_with_error(row),
            ]
            cells += [f"{row.n_datasets}"] if holed else []
            if compared:
                rank = ranks.loc[(setting, row.model)]
                mark = "*" if row.not_different is True else " "
                cells += [
                    "best" if row.best else f"{row.difference:+.3f}{mark}",
                    _interval(row.difference_low, row.difference_high, 3),
                    "" if row.best else _ratio(row),
                    f"{rank['rank']} ({rank['low']}-{rank['high']})",
                ]
            table.add_row(str(row.model), *cells)
        yield _heading(f"{setting_label(setting)}: {_what_of_means(rows, analysis)}")
        yield table
        if len(rows) > MOST_ROWS:
            yield Text(
                f"and {len(rows) - MOST_ROWS:,} more models (--out or --json writes all)",
                style="dim",
            )
        if compared:
            yield Text(_means_key(analysis), style="dim")


def _what_of_means(rows: pd.DataFrame, analysis: Analysis) -> str:
    if rows["of_datasets"].max() < 2:
        return "log odds"
    if rows["se"].isna().all():
        return "mean log odds over datasets"
    form = analysis.options["error_bars"]
    return f"mean log odds over datasets, \N{PLUS-MINUS SIGN} standard error ({form})"


def _ratio(row: Any) -> str:
    between = _interval(row.odds_ratio_low, row.odds_ratio_high)
    return f"{row.odds_ratio:.2f}" + (f" ({between})" if between != "-" else "")


def _means_key(analysis: Analysis) -> str:
    if analysis.options["correction"] == "none":
        return (
            "* not significantly different from the best: the 95 % confidence interval of the "
            "difference, not corrected for the number of comparisons, contains 0; in brackets: "
            "the ranks that these intervals allow"
        )
    return (
        "* not significantly different from the best: the simultaneous 95 % confidence interval of "
        "the difference (corrected for all pairs of models) contains 0; in brackets: simultaneous "
        "95 % confidence interval of the rank"
    )


def _settings(settings: pd.DataFrame) -> Table:
    numbers = ("wins", "cells", "log odds", "95 % interval")
    table = plain_table("", *numbers, right=numbers)
    by = settings.set_index(["setting", "other"])
    for first, second in combinations(in_order(settings["setting"]), 2):
        if (second, first) not in by.index:
            continue
        row = by.loc[(second, first)]
        table.add_row(
            f"{setting_label(second)} over {setting_label(first)}",
            f"{row['wins']:.0f}",
            f"{row['cells']:.0f}",
            f"{row['difference']:+.3f}",
            _interval(row["low"], row["high"]),
        )
    return table


def _effects(analysis: Analysis) -> Table:
    """One row per setting, under the name of the change."""
    numbers = ("log odds", "95 % interval", "models", "datasets")
    table = plain_table("", *numbers, "interval covers other", right=numbers)
    for (before, after), rows in analysis.effects.groupby(["before", "after"], sort=False):
        table.add_row(Text(f"{before} \N{RIGHTWARDS ARROW} {after}", style="bold"))
        for row in rows.itertuples():
            upstream = row.setting == UPSTREAM
            table.add_row(
                f"  {analysis.predictor.label if upstream else setting_label(row.setting)}",
                f"{row.effect:+.3f}",
                _interval(row.low, row.high, 3),
                str(row.n_models),
                "" if upstream else str(row.n_datasets),
                row.sampled,
            )
    return table


def _sets_heading(analysis: Analysis) -> str:
    sets = analysis.model_sets
    source, other = sets["source"].iloc[0], sets["other"].iloc[0]
    return (
        f"Correlation of mean log odds over datasets with {analysis.predictor.label}, models in "
        f"both: {source} against {other}"
    )


def _model_sets(sets: pd.DataFrame) -> Table:
    interval = "95 % interval"
    numbers = ("r", interval, "against", interval, "difference", interval, "models", "datasets")
    table = plain_table("", *numbers, right=numbers)
    for setting in in_order(sets["setting"]):
        row = sets[sets["setting"] == setting].iloc[0]
        cells = [
            text
            for of, sign in (("", ""), ("other_", ""), ("difference_", "+"))
            for text in (f"{row[f'{of}r']:{sign}.3f}", _interval(row[f"{of}low"], row[f"{of}high"]))
        ]
        sizes = (str(row["n_models"]), str(row["n_datasets"]))
        table.add_row(setting_label(setting), *cells, *sizes)
    return table


def _speedups(analysis: Analysis) -> Iterator[Text]:
    for row in analysis.speedup.itertuples():
        takes = [
            f"{setting_label(name)} {steps:,.0f}{_epochs(epochs)}"
            for name, steps, epochs in (
                (row.setting, row.steps, row.epochs),
                (row.other, row.other_steps, row.other_epochs),
            )
        ]
        interval = (
            f" (95 %: {row.low:.1f} to {row.high:.1f}, for other {row.sampled})"
            if row.sampled
            else ""
        )
        yield Text(
            f"Steps to 90 % of the largest odds, geometric mean, models x datasets: {row.cells}: "
            f"{', '.join(takes)}: {row.speedup:.1f} times as many{interval}."
            + (
                f" Pairs of curves left out because one never leaves chance: {row.at_chance}."
                if row.at_chance
                else ""
            )
        )
        rising, curves = still_rising(analysis.reached, row.setting, row.other)
        if rising:
            yield Text(
                f"Of {rising} of {curves} curves the most steps have the largest odds: with "
                "more steps these may rise further, and 90 % of them come later.",
                style="yellow",
            )


def _epochs(epochs: float) -> str:
    return "" if pd.isna(epochs) else f" ({epochs:.3g} epochs)"


def _missing(analysis: Analysis) -> Iterator[Text]:
    by = ["setting", "kind", "name"]
    for (setting, kind, name), rows in analysis.dropped.groupby(by, sort=False):
        yield Text(
            f"left out ({setting_label(setting)}): {kind} {name}, cells missing: "
            f"{rows['missing'].max()}; of {', '.join(rows['table'].unique())}",
            style="yellow",
        )
    for row in analysis.notes.itertuples():
        yield Text(f"note: {row.about}: {row.note}", style="yellow")
    for why, rows in analysis.missing.groupby("why", sort=False):
        yield Text(f"not computed: {'; '.join(rows['what'])}: {why}", style="yellow")


def _heading(text: str) -> Text:
    return Text("\n" + text, style="bold")


def _mean_with_error(row: Any) -> str:
    error = "" if pd.isna(row.se) else f" ± {row.se:.3f}"
    return f"{row.mean:6.3f}{error}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _coefficient(value: float) -> str:
    return "-" if pd.isna(value) else correlation_label(value)


def _coefficients(low: float, high: float) -> str:
    return "-" if pd.isna(low) else f"{correlation_label(low)} to {correlation_label(high)}"


def _number(value: float, digits: int) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def _interval(low: float, high: float, digits: int = 2) -> str:
    return "-" if pd.isna(low) else f"{low:.{digits}f} to {high:.{digits}f}"
