"""Tables with one more factor: training configurations, steps and their speed, dataset sizes."""

import re
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from headstart.analysis.cells import (
    AnalysisOptions,
    Floats,
    Rows,
    cells_of,
    matrix,
    missing,
    row,
    unconnected,
)
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL
from headstart.analysis.published import published_classes
from headstart.analysis.tables.column_names import SWEEPS
from headstart.metrics import beats_chance
from headstart.spec.formatting import first_few, in_order
from headstart.stats import crossed_mean, log_odds, steps_to_share, within_means

__all__ = ["UPSTREAM", "main_results", "speed_rows", "still_rising", "sweep_rows"]

SIZE = "examples_per_class"
STEPS = "steps"
CONFIGURATION = "configuration"
CELL = ["setting", "model", "dataset"]
Place = tuple[str, str]
# Joins a model's name and its level for a while; stands in no name.
JOINT = "\x1f"
CHANCE_LEVEL = 0.01
# Stands where a setting does, in rows on the predictor itself.
UPSTREAM = "upstream"
# What a name that says its place begins with: "S1: ...", "2: ...".
NUMBERED = re.compile(r"[A-Za-z]?(\d+):")


def main_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave each cell the number that tables without a further factor take, and no such column.

    That of the row without a level where there is one (the main study beside a sweep), else of the
    number of steps that most cells of its setting have (again the main study), else of its last
    level (the last configuration in the order of the table; the most steps; the most examples).
    """
    swept = _swept(frame)
    return _single(
        frame.drop(columns=[f for f in SWEEPS if f in frame and f not in swept]), swept, []
    )


def sweep_rows(frame: pd.DataFrame, options: AnalysisOptions) -> Rows:
    """Analyse `configuration`, `steps` and `examples_per_class`, where they have several levels.

    A table of one factor takes of the other factors what `main_results` takes.
    """
    swept = _swept(frame)
    for factor in swept:
        others = [other for other in swept if other != factor]
        own = _single(frame[frame[factor].notna()], others, [factor])
        if factor == CONFIGURATION:
            table = "ablation"
            yield from _means(own, factor, table, options)
            yield from _effects(own, options)
        elif factor == STEPS:
            table = "convergence"
            # Beside a main study, whose cells have one number of steps.
            own = own[own.groupby(CELL)[STEPS].transform("nunique") > 1]
            yield from _means(own, factor, table, options)
            yield from speed_rows(own, options)
        else:
            table = "dataset_size"
            yield from _dataset_sizes(own)
        # Where the main study beside it has every cell, nothing is left to choose.
        if not frame[factor].isna().groupby([frame[name] for name in CELL]).any().all():
            chosen = f"its last {factor}"
            if factor == STEPS:
                chosen = "the steps of most cells, else its last"
            yield missing(
                f"other levels of {factor}, in tables but {table}",
                f"a cell has one number: {chosen} is used there",
            )


def _swept(frame: pd.DataFrame) -> list[str]:
    """Name the factors with several levels in a setting; none at all is a level, too.

    Settings that differ in their one number of steps are no sweep.
    """
    by_setting = frame.groupby("setting")
    return [factor for factor in SWEEPS
            if factor in frame and by_setting[factor].nunique(dropna=False).max() > 1]  # fmt: skip


def _levels(frame: pd.DataFrame, factor: str) -> list[Any]:
    """Put the levels in order: numbers by size, names in the order in which each model has them.

    So a first model that lacks the first level changes nothing. Where models contradict each
    other, names are in the order of the table. Names that are numbered all (``S1: ...``) are in
    the order of their numbers: rows of a store are in the order in which trials ended.
    """
    column = frame[factor].dropna()
    levels = list(pd.unique(column))
    if pd.api.types.is_numeric_dtype(column):
        return sorted(levels)
    numbers = {level: int(found[1]) for level in levels if (found := NUMBERED.match(str(level)))}
    if len(set(numbers.values())) == len(levels):
        return sorted(levels, key=numbers.__getitem__)
    before: dict[Any, set[Any]] = {level: set() for level in levels}
    for _, own in column.groupby(frame["model"], sort=False):
        for first, second in pairwise(pd.unique(own)):
            before[second].add(first)
    with suppress(CycleError):
        return list(TopologicalSorter(before).static_order())
    return levels


def _single(frame: pd.DataFrame, factors: list[str], kept: list[str]) -> pd.DataFrame:
    """Leave each cell (and level of the factors kept) one level of the other factors."""
    for factor in factors:
        levels = _levels(frame, factor)
        # A row without a level comes after all levels: it is the main result.
        place = frame[factor].map({level: i for i, level in enumerate(levels)})
        place = place.fillna(len(levels) + 1).astype(int)
        if factor == STEPS:
            cells = frame[[*CELL, STEPS]].drop_duplicates()
            counts = cells.groupby(["setting", STEPS]).size().reset_index(name="cells")
            usual = counts.sort_values(["cells", STEPS]).groupby("setting")[STEPS].last()
            place = place.where(frame[STEPS] != frame["setting"].map(usual), len(levels))
        last = place.groupby([frame[name] for name in (*CELL, *kept)]).transform("max")
        frame = frame[place == last].drop(columns=factor)
    return frame


def _means(frame: pd.DataFrame, factor: str, table: str, options: AnalysisOptions) -> Rows:
    """Average the datasets of each model and level, adjusted for missing cells."""
    levels = _levels(frame, factor)
    place = frame[factor].map({level: str(i) for i, level in enumerate(levels)})
    cells = cells_of(frame.assign(model=frame["model"] + JOINT + place).drop(columns=factor))
    for setting in pd.unique(cells["setting"]):
        part = matrix(cells, setting, options.predictor.scale).measured()
        if why := unconnected(part):
            yield missing(f"{table} ({setting})", why.replace(JOINT, " at level "))
            continue
        n_datasets, values = np.isfinite(part.scores).sum(axis=1), part.values
        means = within_means(part.scores, options.error_bars, options.level)
        names = [name.split(JOINT) for name in part.models]
        for model, at, i in sorted((model, int(at), i) for i, (model, at) in enumerate(names)):
            # Columns that only one of the two tables has are left out of the other.
            yield row(
                table,
                setting=setting,
                model=model,
                position=at,
                predictor=values[i],
                mean=means.mean[i],
                se=means.se[i],
                low=means.low[i],
                high=means.high[i],
                n_datasets=int(n_datasets[i]),
                **{factor: levels[at]},
            )


def _dataset_sizes(frame: pd.DataFrame) -> Rows:
    """Average the random subsets (seeds) of each size, on the log-odds scale."""
    for size, of_size in frame.groupby(SIZE):
        for cell in cells_of(of_size.drop(columns=SIZE)).to_dict("records"):
            se = cell["seed_sd"] / np.sqrt(cell["n_seeds"])
            known = {name: cell[name] for name in (*CELL, "n_seeds")}
            yield row(
                "dataset_size", **known, examples_per_class=size, mean=cell["log_odds"], se=se
            )


def _effects(frame: pd.DataFrame, options: AnalysisOptions) -> Rows:
    """Compare each configuration with the one before it among those that a setting has.

    By the mean difference in log odds over the cells that both have, in which every model and every
    dataset weighs the same; and the predictor likewise, which has one number per model.
    """
    levels = _levels(frame, CONFIGURATION)
    cells = {
        level: cells_of(frame[frame[CONFIGURATION] == level].drop(columns=CONFIGURATION))
        for level in levels
    }
    for setting in pd.unique(pd.concat(cells.values())["setting"]):
        own = {level: of[of["setting"] == setting] for level, of in cells.items()}
        for before, after in pairwise(level for level in levels if len(own[level])):
            # A cell that either configuration lacks is missing.
            both = own[after].merge(own[before], on=CELL, how="outer", suffixes=("", "_before"))
            change = both.assign(log_odds=both["log_odds"] - both["log_odds_before"])
            whole = matrix(change, setting)
            part, lacking = whole.measured(), list(whole.unmeasured())
            if why := unconnected(part):
                yield missing(f"the effect of {after} against {before} ({setting})", why)
                part = part.take([], [])
            place = {"setting": setting, "before": before, "after": after,
                     "position": levels.index(after)}  # fmt: skip
            yield from _effect(place, part.scores, len(part.datasets), lacking, options)
    # Where settings differ, the mean of their predictors, as in the figure.
    values = {level: of.groupby("model")["predictor"].mean() for level, of in cells.items()}
    scale = options.predictor.scale
    x = {level: pd.Series(scale.coordinates(of), of.index) for level, of in values.items()}
    for before, after in pairwise(level for level in levels if x[level].notna().any()):
        change = x[after].sub(x[before])
        lacking = [{"kind": "model", "name": str(name), "missing": 1}
                   for name in change.index[change.isna()]]  # fmt: skip
        place = {"setting": UPSTREAM, "before": before, "after": after,
                 "position": levels.index(after)}  # fmt: skip
        yield from _effect(place, change.dropna().to_numpy()[:, None], 0, lacking, options)


def _effect(
    place: dict[str, Any],
    change: Floats,
    n_datasets: int,
    lacking: list[dict[str, Any]],
    options: AnalysisOptions,
) -> Rows:
    """Yield the mean of a change, (models, datasets), and what has no part in it.

    The interval is for other models and other datasets (`headstart.stats.crossed_mean`); of which
    there is one, that one is held fixed, and `sampled` says for what the interval is.
    """
    for one in lacking:
        yield row("dropped", **one, setting=place["setting"], table=f"effects: {place['after']}")
    if not change.size:
        return
    found = crossed_mean(change, options.level)
    n_models = len(change)
    several = {"models": n_models > 1, "datasets": n_datasets > 1}
    sampled = " and ".join(name for name, holds in several.items() if holds)
    yield row(
        "effects",
        **place,
        effect=found.mean,
        se=found.se,
        df=found.df,
        low=found.low,
        high=found.high,
        sampled=sampled,
        n_models=n_models,
        n_datasets=n_datasets,
    )
    if not sampled:
        yield missing(
            f"intervals of effects ({place['setting']})",
            "there is one model and one dataset: an interval needs two of one of them",
        )


class Curve(NamedTuple):
    """A model on a dataset: ascending steps, log odds, accuracies, test images, images per step.

    `n` is NaN where an accuracy is no proportion of independent images. `epoch` is how many steps
    see every training image once, NaN where unknown. `learned` says whether the curve leaves chance
    (`_leaves_chance`), None where that cannot be tested.
    """

    steps: Floats
    log_odds: Floats
    accuracy: Floats
    n: Floats
    epoch: float
    learned: bool | None

    @property
    def reached(self) -> float:
        """Steps to 90 % of the largest odds."""
        return float(steps_to_share(self.steps, self.log_odds))

    def redrawn(self, n: int, random: np.random.Generator) -> Floats:
        """(n,) the same of other test sets of the same size, NaN where that cannot be known."""
        if not np.isfinite(self.n).all():
            return np.full(n, np.nan)
        right = random.binomial(self.n.astype(int), self.accuracy, (n, len(self.n)))
        return steps_to_share(self.steps, log_odds(right / self.n, self.n))


def speed_rows(frame: pd.DataFrame, options: AnalysisOptions) -> Rows:
    """Yield rows of the tables `reached` and `speedup`.

    After Kornblith et al. (2019), section 4.6: for each model and dataset the number of steps at
    which the odds of a correct answer first are 90 % of the largest odds at any number of steps;
    averages are geometric means. A curve that never leaves chance has reached nothing, and takes no
    part.
    """
    curves = _curves(frame)
    yield from _reached(curves)
    yield from _speedups(curves, options)


def _reached(curves_of: dict[str, dict[Place, Curve]]) -> Rows:
    """Yield steps to 90 % of the largest odds of each curve.

    `at_first`: the smallest number of steps was enough, so that it may be fewer. `at_last`: the
    largest number of steps has the largest odds, so that more might be reached by more. `learned`:
    the curve leaves chance; None where that cannot be tested. Of one that does not, the steps are
    NaN.
    """
    untested = total = 0
    for setting, curves in curves_of.items():
        failed = []
        for (model, dataset), curve in curves.items():
            steps = curve.reached
            at_last = bool(curve.log_odds.argmax() == len(curve.steps) - 1)
            if curve.learned is False:
                failed.append(f"{model} on {dataset}")
                steps, at_last = np.nan, False
            yield row(
                "reached",
                setting=setting,
                model=model,
                dataset=dataset,
                steps=steps,
                epochs=steps / curve.epoch,
                at_first=steps == curve.steps[0],
                at_last=at_last,
                learned=curve.learned,
            )
            untested += curve.learned is None
            total += 1
        if failed:
            yield missing(
                f"convergence speed ({setting}): {first_few(failed)}",
                "accuracy is not significantly above chance at any number of steps (one-sided, "
                "p > 0.01)",
            )
    if untested:
        yield missing(
            f"test against chance for {untested} of {total} convergence curves",
            "test-set size or number of classes unknown (add columns n_test and n_classes)",
        )


def _speedups(curves: dict[str, dict[Place, Curve]], options: AnalysisOptions) -> Rows:
    """Yield how many times the steps of a setting another one takes.

    The geometric mean over the models and datasets that both were measured on and on which both
    leave chance, with the steps and epochs of each; `at_chance` counts those left out because one
    of the two does not. The interval is for other models and datasets where there are five of
    either and no cell is missing (`headstart.stats.crossed_mean`), else for other test images: it
    then is for these models and datasets, and says nothing of how another training would end.
    `sampled` says which.
    """
    for setting, other in combinations(in_order(list(curves)), 2):
        first, second = curves[setting], curves[other]
        shared = [cell for cell in first if cell in second]
        both = [cell for cell in shared if False not in (first[cell].learned, second[cell].learned)]
        if not both:
            continue
        pair = [[of[cell] for cell in both] for of in (first, second)]
        steps = [_geometric([curve.reached for curve in part]) for part in pair]
        epochs = [_geometric([curve.reached / curve.epoch for curve in part]) for part in pair]
        low, high, sampled = _interval(both, pair, options)
        yield row(
            "speedup",
            setting=setting,
            other=other,
            speedup=steps[1] / steps[0],
            low=low,
            high=high,
            sampled=sampled,
            steps=steps[0],
            other_steps=steps[1],
            epochs=epochs[0],
            other_epochs=epochs[1],
            cells=len(both),
            at_chance=len(shared) - len(both),
        )


def _leaves_chance(accuracy: Floats, n: Floats, chance: float | None, lowest: float) -> bool | None:
    """Test whether a curve is anywhere significantly above chance.

    Exact binomial test of each point, one-sided at 1 % divided by the number of points. Where the
    number of classes is unknown, a curve leaves chance if it is above 1/2 by that test, or above
    the lowest accuracy of any curve on that dataset by a test of two proportions.
    """
    known = np.isfinite(n) & (n > 0)
    if not known.any():
        # Without sizes only a curve that is at chance or under it everywhere can be found.
        return False if chance is not None and accuracy.max() <= chance else None
    level = CHANCE_LEVEL / len(accuracy)
    for p, size in zip(accuracy[known], n[known], strict=True):
        if chance is not None:
            above = beats_chance(float(p), int(size), chance, level)
        elif not (above := beats_chance(float(p), int(size), 0.5, level)):
            pooled = (p + lowest) / 2
            spread = np.sqrt(2 * pooled * (1 - pooled) / size)
            above = bool(spread > 0 and ndtr(-(p - lowest) / spread) <= level)
        if above:
            return True
    return False


def _chance(frame: pd.DataFrame) -> dict[str, float]:
    """Return each dataset's chance level: one over its number of classes, where that is known.

    From a column n_classes, else from the study's twelve datasets; of average precision it is not
    that.
    """
    found = {}
    for dataset, rows in frame.groupby("dataset", sort=False):
        metrics = rows["metric"].dropna().astype(str) if "metric" in rows else pd.Series(dtype=str)
        if metrics.str.contains("map|precision", case=False).any():
            continue
        given = rows["n_classes"].dropna() if "n_classes" in rows else pd.Series(dtype=float)
        classes = given.iloc[0] if len(given) else published_classes(str(dataset))
        if classes and classes > 1:
            found[str(dataset)] = 1 / float(classes)
    return found


def still_rising(reached: pd.DataFrame, setting: str, other: str) -> tuple[int, int]:
    """Return how many curves that a speed-up compares more steps may raise, and of how many.

    Where the largest number of steps has the largest odds, the largest odds are not known, nor the
    steps to 90 % of them: the speed-up is not settled.

    Parameters
    ----------
    reached
        The table `reached` of an analysis.
    """
    pair = reached[reached["setting"].isin([setting, other]) & reached["steps"].notna()]
    both = pair.groupby(["model", "dataset"])["setting"].transform("nunique") == 2
    return int(pair[both]["at_last"].sum()), int(both.sum())


def _interval(
    cells: list[Place], pair: list[list[Curve]], options: AnalysisOptions
) -> tuple[float, float, str]:
    """Return the interval of the geometric mean of ratios, and for other samples of what it is."""
    ratio = [np.log(b.reached / a.reached) for a, b in zip(*pair, strict=True)]
    index = pd.MultiIndex.from_tuples(cells)
    table = pd.Series(ratio, index=index).unstack().to_numpy(dtype=np.float64)
    if np.isfinite(table).all() and max(table.shape) >= FEWEST_FOR_INTERVAL:
        found = crossed_mean(table, options.level)
        names = zip(("models", "datasets"), table.shape, strict=True)
        sampled = " and ".join(name for name, n in names if n > 1)
        return float(np.exp(found.low)), float(np.exp(found.high)), sampled
    random = np.random.default_rng(options.seed)
    drawn = np.stack([
        np.log(b.redrawn(options.resamples, random) / a.redrawn(options.resamples, random))
        for a, b in zip(*pair, strict=True)
    ])  # fmt: skip
    # The means over cells of their ends, as if all cells erred together. That of the draws would
    # be far too narrow: models share test images, and noise on a plateau has every curve get
    # there early.
    ends = [(1 - options.level) / 2, (1 + options.level) / 2]
    low, high = np.exp(np.quantile(drawn, ends, axis=1).mean(axis=1))
    return float(low), float(high), "test images" if np.isfinite(low) else ""


def _geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _curves(frame: pd.DataFrame) -> dict[str, dict[Place, Curve]]:
    """Return each setting's curves with two numbers of steps or more, seeds averaged."""
    named = frame.assign(model=frame["model"] + JOINT + frame["steps"].astype(int).astype(str))
    cells = cells_of(named.drop(columns="steps"))
    chance, lowest = _chance(frame), cells.groupby("dataset")["accuracy"].min()
    cells[["model", "steps"]] = cells["model"].str.rsplit(JOINT, n=1, expand=True)
    cells["steps"] = cells["steps"].astype(float)
    epoch: dict[tuple[str, str, str], float] = {}
    if {"n_train", "batch_size"} <= set(frame.columns):
        # The number of steps per epoch, where all rows agree.
        per_epoch = (frame["n_train"] / frame["batch_size"]).groupby([frame[k] for k in CELL])
        epoch = per_epoch.first().where(per_epoch.nunique(dropna=False) == 1).to_dict()
    curves: dict[str, dict[Place, Curve]] = {}
    for (setting, model, dataset), rows in cells.groupby(CELL, sort=False):
        if len(rows) < 2:
            continue
        own = rows.sort_values("steps")
        numbers = {name: own[name].to_numpy(dtype=np.float64)
                   for name in ("steps", "log_odds", "accuracy", "n_test")}  # fmt: skip
        learned = _leaves_chance(
            numbers["accuracy"], numbers["n_test"], chance.get(dataset), lowest[dataset]
        )
        numbers["n"] = np.where(own["low"].notna(), numbers.pop("n_test"), np.nan)
        curves.setdefault(setting, {})[model, dataset] = Curve(
            **numbers, epoch=epoch.get((setting, model, dataset), np.nan), learned=learned
        )
    # Where chance is unknown and no curve of a dataset rises, all may have converged at once.
    rising = set(chance)
    for of_setting in curves.values():
        rising |= {dataset for (_, dataset), curve in of_setting.items() if curve.learned}
    return {
        setting: {
            cell: curve if cell[1] in rising else curve._replace(learned=None)
            for cell, curve in of_setting.items()
        }
        for setting, of_setting in curves.items()
    }
