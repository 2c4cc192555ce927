"""Speed of convergence: steps to 90 % of the largest odds, and settings compared.

After Kornblith et al. (2019), section 4.6: for each model and dataset the number of steps at which
the odds of a correct answer first are 90 % of the largest odds at any number of steps; averages are
geometric means. This is the one definition of "reached": tables, sentences and figures read it off
the table `reached`. A curve that never leaves chance has reached nothing, and takes no part.
"""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from headstart.analysis.cells import AnalysisOptions, cells_of
from headstart.analysis.correlations import FEWEST_FOR_INTERVAL
from headstart.analysis.published import published_classes
from headstart.metrics import beats_chance
from headstart.spec.formatting import first_few, in_order
from headstart.stats import crossed_mean, log_odds, steps_to_share

__all__ = ["chance_notes", "reached", "speedups", "still_rising"]

Floats = npt.NDArray[np.float64]
Cell = tuple[str, str]
# Joins a model's name and its level for a while; stands in no name.
JOINT = "\x1f"
CHANCE_LEVEL = 0.01


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


def reached(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `reached`, of results with several numbers of steps.

    `at_first`: the smallest number of steps was enough, so that it may be fewer. `at_last`: the
    largest number of steps has the largest odds, so that more might be reached by more. `learned`:
    the curve leaves chance; None where that cannot be tested. Of one that does not, the steps are
    NaN.
    """
    rows = []
    for setting, curves in _curves(frame).items():
        for (model, dataset), curve in curves.items():
            failed = curve.learned is False
            steps = np.nan if failed else curve.reached
            rows.append({
                "setting": setting,
                "model": model,
                "dataset": dataset,
                "steps": steps,
                "epochs": steps / curve.epoch,
                "at_first": steps == curve.steps[0],
                "at_last": not failed and bool(curve.log_odds.argmax() == len(curve.steps) - 1),
                "learned": curve.learned,
            })  # fmt: skip
    return rows


def speedups(frame: pd.DataFrame, options: AnalysisOptions) -> list[dict[str, Any]]:
    """Rows of the table `speedup`: how many times the steps of a setting another one takes.

    The geometric mean over the models and datasets that both were measured on and on which both
    leave chance, with the steps and epochs of each; `at_chance` counts those left out because one
    of the two does not. The interval is for other models and datasets where there are five of
    either and no cell is missing (`headstart.stats.crossed_mean`), else for other test images: it
    then is for these models and datasets, and says nothing of how another training would end.
    `sampled` says which.
    """
    curves, rows = _curves(frame), []
    for setting, other in combinations(in_order(list(curves)), 2):
        shared = [cell for cell in curves[setting] if cell in curves[other]]
        both = [
            cell
            for cell in shared
            if curves[setting][cell].learned is not False
            and curves[other][cell].learned is not False
        ]
        if not both:
            continue
        pair = [[curves[name][cell] for cell in both] for name in (setting, other)]
        steps = [_geometric([curve.reached for curve in part]) for part in pair]
        epochs = [_geometric([curve.reached / curve.epoch for curve in part]) for part in pair]
        low, high, sampled = _interval(both, pair, options)
        rows.append(
            {
                "setting": setting,
                "other": other,
                "speedup": steps[1] / steps[0],
                "low": low,
                "high": high,
                "sampled": sampled,
                "steps": steps[0],
                "other_steps": steps[1],
                "epochs": epochs[0],
                "other_epochs": epochs[1],
                "cells": len(both),
                "at_chance": len(shared) - len(both),
            }
        )
    return rows


def chance_notes(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Name the curves of the table `reached` that never leave chance, or could not be tested."""
    notes = []
    failed = [row for row in rows if row["learned"] is False]
    why = "accuracy is not significantly above chance at any number of steps (one-sided, p > 0.01)"
    for setting in dict.fromkeys(row["setting"] for row in failed):
        names = [f"{r['model']} on {r['dataset']}" for r in failed if r["setting"] == setting]
        notes.append((f"convergence speed ({setting}): {first_few(names)}", why))
    untested = sum(row["learned"] is None for row in rows)
    if untested:
        what = f"test against chance for {untested} of {len(rows)} convergence curves"
        why = "test-set size or number of classes unknown (add columns n_test and n_classes)"
        notes.append((what, why))
    return notes


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
    """Count the curves that a speed-up compares, and those of them that more steps may raise.

    Where the largest number of steps has the largest odds, the largest odds are not known, nor the
    steps to 90 % of them: the speed-up is not settled.

    Parameters
    ----------
    reached
        The table `reached`.
    setting, other
        The pair of the speed-up.

    Returns
    -------
    tuple
        How many may rise, of how many.
    """
    pair = reached[reached["setting"].isin([setting, other]) & reached["steps"].notna()]
    both = pair.groupby(["model", "dataset"])["setting"].transform("nunique") == 2
    return int(pair[both]["at_last"].sum()), int(both.sum())


def _interval(
    cells: list[Cell], pair: list[list[Curve]], options: AnalysisOptions
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


def _curves(frame: pd.DataFrame) -> dict[str, dict[Cell, Curve]]:
    """Return each setting's curves with two numbers of steps or more, seeds averaged."""
    named = frame.assign(model=frame["model"] + JOINT + frame["steps"].astype(int).astype(str))
    cells = cells_of(named.drop(columns="steps"))
    chance, lowest = _chance(frame), cells.groupby("dataset")["accuracy"].min()
    cells[["model", "steps"]] = cells["model"].str.rsplit(JOINT, n=1, expand=True)
    cells["steps"] = cells["steps"].astype(float)
    curves: dict[str, dict[Cell, Curve]] = {}
    by = ["setting", "model", "dataset"]
    for (setting, model, dataset), rows in cells.groupby(by, sort=False):
        if len(rows) < 2:
            continue
        own = rows.sort_values("steps")
        known = own["low"].notna() & own["n_test"].notna()
        curves.setdefault(setting, {})[model, dataset] = Curve(
            own["steps"].to_numpy(dtype=float),
            own["log_odds"].to_numpy(dtype=float),
            own["accuracy"].to_numpy(dtype=float),
            own["n_test"].where(known).to_numpy(dtype=float),
            _epoch(frame, setting, model, dataset),
            _leaves_chance(
                own["accuracy"].to_numpy(dtype=float),
                own["n_test"].to_numpy(dtype=float),
                chance.get(dataset),
                lowest[dataset],
            ),
        )
    return _unsettled(curves, chance)


def _unsettled(
    curves: dict[str, dict[Cell, Curve]], chance: dict[str, float]
) -> dict[str, dict[Cell, Curve]]:
    """Where chance is unknown and no curve of a dataset rises, all may have converged at once."""
    rises = {
        dataset
        for of_setting in curves.values()
        for (_, dataset), curve in of_setting.items()
        if curve.learned or dataset in chance
    }
    return {
        setting: {
            cell: curve if cell[1] in rises else curve._replace(learned=None)
            for cell, curve in of_setting.items()
        }
        for setting, of_setting in curves.items()
    }


def _epoch(frame: pd.DataFrame, setting: str, model: str, dataset: str) -> float:
    """Return the number of steps per epoch, where all rows agree."""
    if not {"n_train", "batch_size"} <= set(frame.columns):
        return np.nan
    own = frame[
        (frame["setting"] == setting) & (frame["model"] == model) & (frame["dataset"] == dataset)
    ]
    found = (own["n_train"] / own["batch_size"]).unique()
    return float(found[0]) if len(found) == 1 else np.nan
