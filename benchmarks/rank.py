"""What choosing a backbone costs and loses: the race against simpler ways, printed as JSON.

    python benchmarks/rank.py --extract        # pretrain, and compute features, into the cache
    python benchmarks/rank.py [--out FILE] [--images 5000] [--seeds 10] [--share 0.2]
                              [--predictors NAME ...] [--keep FOLDER]
                              [--targets NAME ...] [--candidates NAME ...]

Candidates are EfficientNet-Lite 0, 1 and 2 at several input sizes, the miniature's networks
pretrained on characters in a quarter of its steps (some with two seeds), and two networks with
random weights; targets are synthetic and packaged datasets, Tux Paint's stamps and Open Clip Art by
category, with at most `--images` images per split. Features are extracted once; then ways to choose
are replayed on them many times, with images drawn anew.
What a way spends is counted: images times multiply-adds, as a share of all images by all
networks. `--keep` keeps cross-validations in a folder, for other ways to choose by the same draws;
empty it when networks or datasets change.

So that thousands of cross-validations take minutes, a linear classifier by least squares stands for
the certified probe everywhere: what is judged is how images are allocated. In each draw a fifth of
the images is held out. Measuring everything is cross-validating all networks on all the others, and
taking the most accurate one. What a way loses against that, in points:

* `regret`: the cross-validated accuracy of the one that measuring everything takes, less that of
  the one that the way takes. Never negative. The best of many is in part the luckiest on these
  images, so that this is more than what is lost on new ones.
* `lost`: the same difference on the images held out, by networks fitted on all others; with its
  standard error over draws and targets.

* `race`: `headstart.ranking.race.Race`, as `headstart rank` runs it, with a budget of `--share`.
  `coverage`: how often the one that measuring everything takes is among those that the race has not
  excluded.
* `halving`: successive halving (Karnin et al. 2013): the budget in equal parts over rounds, half of
  the networks left after each.
* `uniform`: all networks on `--share` of the images, the most accurate is taken.
* `imagenet`: the highest ImageNet accuracy; no image is used. Equals are taken with equal chance.
* predictors: the highest transfer score on `--share` of the images.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from headstart import datasets, models
from headstart.context import RunContext, default_cache
from headstart.contrib.miniature.chain import FULL, short, to_pretrain
from headstart.errors import HeadstartError
from headstart.features import extract_together, penultimate_features
from headstart.predictors import transfer_score
from headstart.pretraining import pretrain_all
from headstart.ranking.candidates import expected_accuracy
from headstart.ranking.cross_validation import (
    FOLDS,
    REPEATS,
    draw_folds,
    fewest_images,
    nested_order,
    rank_images,
)
from headstart.ranking.elimination import Level, Rights, critical_values
from headstart.ranking.race import Budget, Race, Racer, StepOutcome
from headstart.registry import PREDICTORS
from headstart.study.feature_scores import source_probabilities

NETWORKS = (
    "efficientnet_lite0?size=96", "efficientnet_lite0?size=128", "efficientnet_lite0?size=160",
    "efficientnet_lite0", "efficientnet_lite1?size=128", "efficientnet_lite1",
    "efficientnet_lite2?size=160", "efficientnet_lite2",
    "timm:resnet18?weights=random&size=64", "timm:mobilenetv3_small_050?weights=random&size=96",
)  # fmt: skip
# The miniature's networks, and some of them from another seed.
NAME = "rank-benchmark"
SMALL = tuple(f"pretrained:{NAME}-{short(arch)}" for arch in FULL.networks)
AGAIN = ("small:resnet10_w16", "small:mobilenet_w16", "small:densenet22_g16", "small:inception_w16")
SMALL_AGAIN = tuple(f"pretrained:{NAME}-{short(arch)}-seed1" for arch in AGAIN)
CANDIDATES = NETWORKS + SMALL + SMALL_AGAIN
TARGETS = (
    "digits", "glyphs", "patches", "shapes", "textures", "charts", "fashion_mnist",
    "/usr/share/tuxpaint/stamps", "/usr/share/openclipart/png",
)  # fmt: skip
ERROR = 0.05
# Only a unit; small, so that the seconds which a race keeps for its end are nothing.
MULTIPLY_ADDS_PER_SECOND = 1e6
PENALTY = 0.01
# Of the images of a target, this share is held out.
HELD_OUT = 0.2

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass
class Target:
    """Features of the same images by all candidates, and what they cost per image."""

    name: str
    candidates: tuple[str, ...]
    labels: Ints
    features: list[Floats]
    source: list[Floats | None]
    cost: list[float]
    upstream: list[float]
    priors: list[float | None]
    # Of the current draw: cross-validations by candidate and number of images, held-out accuracies.
    seen: dict[tuple[int, int], Rights] = field(default_factory=dict)
    new: dict[int, float] = field(default_factory=dict)
    products: dict[int, Floats] = field(default_factory=dict)

    def full(self, n: int) -> float:
        """Seconds of n images by all candidates."""
        return n * sum(self.cost)

    def measured(self, candidate: int, rows: Ints, seed: int, repeats: int) -> Rights:
        """Cross-validate a candidate on some images."""
        key = (candidate, len(rows))
        if key not in self.seen:
            y = self.labels[rows]
            folds = [draw_folds(y, np.arange(len(y)), seed * 100 + one) for one in range(repeats)]
            outs = [of == fold for of in folds for fold in np.unique(of)]
            right = np.zeros((repeats, len(y)), dtype=bool)
            for place, (out, found) in enumerate(
                zip(outs, self.right(candidate, rows, outs), strict=True)
            ):
                right[place * repeats // len(outs), out] = found
            self.seen[key] = right
        return self.seen[key]

    def accuracy(self, candidate: int, rows: Ints, seed: int) -> float:
        """Return the cross-validated accuracy of a candidate on some images."""
        return float(self.measured(candidate, rows, seed, REPEATS).mean())

    def held_out(self, candidate: int, rows: Ints) -> float:
        """Return the accuracy on all other images of a candidate that is fitted to some."""
        if candidate not in self.new:
            everyone = np.arange(len(self.labels))
            (right,) = self.right(candidate, everyone, [~np.isin(everyone, rows)])
            self.new[candidate] = float(right.mean())
        return self.new[candidate]

    def begin(self, file: Path | None) -> None:
        """Begin a draw, with what a file keeps of it."""
        self.seen, self.new = {}, {}
        if file and file.exists():
            with np.load(file) as kept:
                self.new = dict(enumerate(kept["new"].tolist()))
                for name in set(kept.files) - {"new"}:
                    candidate, n = map(int, name.split("-"))
                    bits = np.unpackbits(kept[name], axis=1, count=n)
                    self.seen[candidate, n] = bits.astype(bool)

    def keep(self, file: Path | None) -> None:
        """Keep what was seen of a draw."""
        if file:
            bits = {f"{i}-{n}": np.packbits(of, axis=1) for (i, n), of in self.seen.items()}
            new = np.array([self.new[i] for i in range(len(self.new))])
            np.savez_compressed(file, allow_pickle=False, **bits, new=new)

    def right(
        self, candidate: int, rows: Ints, outs: Sequence[npt.NDArray[np.bool_]]
    ) -> Iterator[npt.NDArray[np.bool_]]:
        """Whether least squares with a ridge, fitted to the others of some images, is right.

        Products of all images with each other are made once per candidate, those of columns once
        for all parts that are left out.
        """
        y, X = self.labels[rows], self.features[candidate]
        Y = (y[:, None] == np.unique(y)).astype(np.float32)
        fit: Callable[[Floats, Floats, Floats, npt.NDArray[np.bool_]], Floats]
        if len(rows) <= X.shape[1]:
            if candidate not in self.products:
                centred = (X - X.mean(axis=0)).astype(np.float32)
                self.products[candidate] = centred @ centred.T
            square, fit = self.products[candidate][np.ix_(rows, rows)], _by_images
        else:
            X = X[rows] - X[rows].mean(axis=0)
            square, fit = X.T @ X, _by_features
        for out in outs:
            yield fit(X, square, Y, out).argmax(axis=1) == Y[out].argmax(axis=1)


def _ridge(trace: float, n: int) -> float:
    return float(PENALTY * trace / n * n**0.5)


def _by_images(_: Floats, kernel: Floats, Y: Floats, out: npt.NDArray[np.bool_]) -> Floats:
    """Predict the images left out, from products of images with each other."""
    own = kernel[np.ix_(~out, ~out)]
    # Centred by the training rows.
    rows, all_ = own.mean(axis=0), own.mean()
    centred = own - rows - rows[:, None] + all_
    ridge, mean = _ridge(np.trace(centred), len(own)), Y[~out].mean(axis=0)
    centred[np.diag_indices_from(centred)] += ridge
    weights = cho_solve(cho_factor(centred, overwrite_a=True, check_finite=False), Y[~out] - mean)
    across = kernel[np.ix_(out, ~out)]
    across = across - across.mean(axis=1, keepdims=True) - rows + all_
    return np.asarray(mean + across @ weights)


def _by_features(X: Floats, gram: Floats, Y: Floats, out: npt.NDArray[np.bool_]) -> Floats:
    """Predict the images left out, from products of features with each other."""
    n, centre, mean = int((~out).sum()), X[~out].mean(axis=0), Y[~out].mean(axis=0)
    centred = gram - X[out].T @ X[out] - n * np.outer(centre, centre)
    ridge = _ridge(np.trace(centred), n)
    target = X[~out].T @ (Y[~out] - mean)
    weights = cho_solve(cho_factor(centred + ridge * np.eye(len(gram))), target)
    return np.asarray(mean + (X[out] - centre) @ weights)


def pretrain(context: RunContext) -> None:
    """Pretrain the miniature's networks, in a quarter of its steps; those there are kept."""
    steps = FULL.pretraining["steps"] // 4
    scale = replace(FULL, name=NAME, pretraining={**FULL.pretraining, "steps": steps})
    jobs = [job for job in to_pretrain(scale, context) if job.configuration is None]
    for arch in AGAIN:
        (job,) = [one for one in jobs if one.name == scale.name_of(arch)]
        recipe = job.recipe.model_copy(update={"seed": 1})
        jobs.append(replace(job, recipe=recipe, name=f"{job.name}-seed1", title=None))
    for job, outcome in pretrain_all(jobs, context):
        said = outcome if isinstance(outcome, HeadstartError) else "ready"
        print(job.name, said, file=sys.stderr)


def read_target(name: str, candidates: Sequence[str], images: int, context: RunContext) -> Target:
    """Read the images that `headstart rank` would choose on, and the candidates' features."""
    dataset = datasets.find(name, skip_broken=True)
    if dict(dataset.sizes)["train"] > images:
        dataset = datasets.find(name, skip_broken=True, limit=images)
    found = rank_images(dataset, 0, context.cache)
    request = found.request(dataset, len(found.sizes) - 1, "fp32")
    chosen = [models.find(one) for one in candidates]
    for error in extract_together([(one, request) for one in chosen], context):
        if error:
            raise error
    y = found.labels[found.rows(len(found.sizes) - 1)]
    features = [penultimate_features(one, request, context) for one in chosen]
    kept = np.bincount(y)[y] >= FOLDS
    kept[list(features[0].broken)] = False
    _, labels = np.unique(y[kept], return_inverse=True)
    counts = [models.multiply_adds(one, context.cache) or 1 for one in chosen]
    return Target(
        Path(name).name,
        tuple(candidates),
        labels.astype(np.int64),
        [np.asarray(one.values[kept], np.float64) for one in features],
        [
            source_probabilities(one, np.asarray(of.values[kept], np.float64), context)
            for one, of in zip(chosen, features, strict=True)
        ],
        [count / MULTIPLY_ADDS_PER_SECOND for count in counts],
        [one.upstream_accuracy or 0.0 for one in chosen],
        [expected_accuracy(one) for one in chosen],
    )


class Choice(Race):
    """A race that ends with the choice: the test of the winner is the same for all ways."""

    def reserve(self, *_: object, **__: object) -> float:
        """Set nothing aside."""
        return 0.0


def race(target: Target, order: Ints, seed: int, share: float) -> dict[str, Any]:
    """Race within the budget; the clock counts multiply-adds."""
    n, spent = len(order), [0.0]
    sizes = [n]
    while sizes[0] // 2 >= fewest_images(int(target.labels.max()) + 1):
        sizes.insert(0, sizes[0] // 2)
    critical = critical_values(len(sizes), len(target.candidates), ERROR)
    levels = [Level(np.ones(size), np.arange(size), FOLDS, float(z))
              for size, z in zip(sizes, critical, strict=True)]  # fmt: skip

    def measure(racer: Racer, level: int, allowed: float, limit: float) -> StepOutcome:  # noqa: ARG001
        per_image = target.cost[racer.position]
        seconds = (sizes[level] - (sizes[level - 1] if level else 0)) * per_image
        if seconds > allowed:
            return StepOutcome(None, 0.0, per_image, reason="budget", needed=seconds)
        spent[0] += seconds
        rows = np.sort(order[: sizes[level]])
        measured = target.measured(racer.position, rows, seed, REPEATS)
        return StepOutcome(measured, seconds, per_image)

    racers = [Racer(name, i, target.priors[i], target.cost[i])
              for i, name in enumerate(target.candidates)]  # fmt: skip
    whole = target.full(n)
    found = Choice(racers, levels, measure, Budget(share * whole, lambda: spent[0]))
    found.run()
    leaders = found.leaders()
    return {
        "chosen": [leaders[0].position],
        "tied": [one.position for one in racers if one.status == "racing"],
        "spent": spent[0] / whole,
    }


def halving(target: Target, order: Ints, seed: int, share: float) -> dict[str, Any]:
    """Halve the candidates after each round; a round's images are the first ones, cumulated."""
    left, n, had, spent = list(range(len(target.candidates))), len(order), 0, 0.0
    whole = target.full(n)
    rounds = int(np.ceil(np.log2(len(left))))
    while len(left) > 1:
        more = int(share * whole / rounds / sum(target.cost[i] for i in left))
        size = min(n, max(had + more, 2 * FOLDS))
        spent += (size - had) * sum(target.cost[i] for i in left)
        had, rows = size, np.sort(order[:size])
        accuracy = {i: target.accuracy(i, rows, seed) for i in left}
        left = sorted(left, key=lambda i: -accuracy[i])[: (len(left) + 1) // 2]
    return {"chosen": left, "spent": spent / whole}


def ways(
    target: Target, order: Ints, seed: int, share: float, predictors: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Choose in every way, and by transfer scores."""
    rows = np.sort(order[: int(share * len(order))])
    everyone = range(len(target.candidates))
    accuracy = [target.accuracy(i, rows, seed) for i in everyone]
    found = {
        "race": race(target, order, seed, share),
        "race_without_priors": without_priors(target, order, seed, share),
        "halving": halving(target, order, seed, share),
        "uniform": {"chosen": best(accuracy), "spent": share},
        "imagenet": {"chosen": best(target.upstream), "spent": 0.0},
    }
    for name in predictors:
        scores = [score(name, target, i, rows) for i in everyone]
        found[name] = {"chosen": best(scores), "spent": share}
    return found


def without_priors(target: Target, order: Ints, seed: int, share: float) -> dict[str, Any]:
    """Race without any order by what is expected."""
    kept, target.priors = target.priors, [None] * len(target.candidates)
    found = race(target, order, seed, share)
    target.priors = kept
    return found


def score(name: str, target: Target, candidate: int, rows: Ints) -> float:
    """Return a transfer score; minus infinity where there is none."""
    source = target.source[candidate]
    try:
        return transfer_score(
            name, target.features[candidate][rows], target.labels[rows],
            None if source is None else source[rows],
        )  # fmt: skip
    except HeadstartError:
        return -np.inf


def best(values: Any) -> list[int]:
    """Return all places of the largest value."""
    array = np.asarray(values)
    return np.flatnonzero(array == array.max()).tolist()


def drawn(target: Target, seed: int) -> Ints:
    """Return the images to choose on, in the order in which they are used: not those held out."""
    n = len(target.labels)
    return nested_order(target.labels, np.arange(n), seed)[: round((1 - HELD_OUT) * n)]


def summary(
    target: Target,
    seeds: int,
    shares: list[float],
    predictors: Sequence[str],
    folder: Path | None = None,
) -> dict[str, Any]:
    """Replay many times; return what each way loses, its coverage and cost, by share."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {f"{share:g}": {} for share in shares}
    of_all = list[list[float]]()
    for seed in range(seeds):
        order, file = drawn(target, seed), folder and folder / f"{target.name}-{seed}.npz"
        target.begin(file)
        rows, everyone = np.sort(order), range(len(target.candidates))
        accuracy = np.array([target.accuracy(i, rows, seed) for i in everyone])
        new = np.array([target.held_out(i, rows) for i in everyone])
        top = int(accuracy.argmax())
        of_all.append(accuracy.tolist())
        for share in shares:
            scored = predictors if share == shares[0] else ()
            for name, found in ways(target, order, seed, share, scored).items():
                of = {"regret": accuracy, "lost": new}
                found |= {key: 100 * (of[key][top] - of[key][found["chosen"]].mean()) for key in of}
                found["covered"] = top in found.get("tied", ())
                runs[f"{share:g}"].setdefault(name, []).append(found)
        target.keep(file)
    accuracy = np.mean(of_all, axis=0)
    return {
        "images": len(target.labels),
        "classes": int(target.labels.max()) + 1,
        "accuracy": {
            target.candidates[i]: round(float(accuracy[i]), 4) for i in np.argsort(-accuracy)
        },
        "shares": {
            share: {name: _of(found) for name, found in of.items()} for share, of in runs.items()
        },
    }


def _of(found: list[dict[str, Any]]) -> dict[str, float]:
    def mean(key: str, digits: int = 3) -> float:
        return round(float(np.mean([one[key] for one in found])), digits)

    numbers = {
        "regret": mean("regret"),
        "largest": round(float(np.max([one["regret"] for one in found])), 3),
        "lost": mean("lost"),
        "spent": mean("spent"),
    }
    if len(found) > 1:
        spread = np.std([one["lost"] for one in found], ddof=1) / len(found) ** 0.5
        numbers["lost_se"] = round(float(spread), 3)
    if "tied" in found[0]:
        numbers["coverage"] = mean("covered")
        numbers["tied"] = round(float(np.mean([len(one["tied"]) for one in found])), 1)
    return numbers


def overall(of: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Average each way over targets; they are taken as they are, draws as drawn anew."""

    def over(values: list[float], key: str) -> float:
        mean = np.mean(values)
        if key.endswith("_se"):
            mean = np.sqrt(np.sum(np.square(values))) / len(values)
        return round(float(mean), 3)

    return {
        name: {key: over([one[name][key] for one in of], key) for key in of[0][name]}
        for name in of[0]
    }


def main() -> None:
    """Extract, replay, print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument(
        "--candidates", nargs="+", default=list(CANDIDATES), help="two or more, to try out"
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--share", type=float, nargs="+", default=[0.2])
    parser.add_argument("--predictors", nargs="*", default=list(PREDICTORS))
    parser.add_argument("--extract", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    context = RunContext(cache=default_cache())
    if chosen.extract:
        pretrain(context)
    targets = [
        read_target(name, chosen.candidates, chosen.images, context) for name in chosen.targets
    ]
    if chosen.extract:
        return
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    of = {
        one.name: summary(one, chosen.seeds, chosen.share, chosen.predictors, chosen.keep)
        for one in targets
    }
    found = {
        share: overall([one["shares"][share] for one in of.values()])
        for share in (f"{one:g}" for one in chosen.share)
    }
    text = json.dumps({"seeds": chosen.seeds, "overall": found, "targets": of}, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
