"""The knn setting: weighted votes of the nearest neighbours in feature space.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (ICCV 2021), section 4.1,
after Wu et al. (CVPR 2018): the k training images with the largest cosine similarity s vote for
their classes with weight ``exp(s / T)``. Nothing is fitted. k and T are selected on validation.
Neighbours of test images come from train + validation.
"""

from collections.abc import Sequence
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from headstart import metrics
from headstart.context import Clock
from headstart.devices import resolve_device
from headstart.errors import FeatureError
from headstart.methods import TestScores, setting_of
from headstart.methods.on_features import (
    FeatureSetting,
    LabelledFeatures,
    OnFeatures,
    PreparedOnFeatures,
)
from headstart.spec import Measurement, Selection

__all__ = ["KNN", "KNearestNeighbours", "KnnSetting", "PreparedNeighbours", "vote_shares"]

# Votes (queries x neighbours x classes) in memory at a time, in float64.
VOTES_AT_ONCE = 1 << 24
# Share of a class without votes, so that its logarithm, the score, is finite.
SMALLEST_SHARE = 1e-12

Floats = npt.NDArray[np.float32]


class KnnSetting(FeatureSetting):
    """Weighted votes of nearest neighbours by cosine similarity of penultimate features.

    Every pair of `neighbours` (k) and `temperatures` (T) is scored on validation. A k larger than
    the number of training images uses all of them.
    """

    chosen: ClassVar[tuple[str, ...]] = ("k", "temperature")

    name: Literal["knn"] = "knn"
    protocol: str = "dino2021"
    neighbours: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10, 20, 100, 200)
    temperatures: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.07,)
    # Increase it when a change of the code may change results of the same fields.
    implementation: int = 1

    @field_validator("neighbours", "temperatures")
    @classmethod
    def _increasing(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(sorted(set(values)))


class PreparedNeighbours(PreparedOnFeatures):
    """A trial of the knn setting.

    Its candidate has all pairs of k and temperature, so that neighbours are searched only once.
    """

    def curve(self) -> tuple[dict[str, float], ...]:
        """Score every pair on validation."""
        validation, metric = self.features.validation, self.features.dataset.metric
        setting = setting_of(self.trial, KnnSetting)
        pairs = list(product(setting.neighbours, setting.temperatures))
        scores = self._scores(self.features.train, validation.X, pairs, "selecting k")
        return tuple(
            {"k": k, "temperature": t, "accuracy": metrics.score(metric, validation.y, one)}
            for (k, t), one in zip(pairs, scores, strict=True)
        )

    def select(self, measured: Sequence[Measurement]) -> Selection:
        """Select the best pair on validation; ties go to the largest k, then the largest T."""
        (found,) = measured
        best = max(found.curve, key=lambda row: (row["accuracy"], row["k"], row["temperature"]))
        return Selection(
            examples=found.examples,
            chosen={name: best[name] for name in ("k", "temperature")},
            validation_curve=found.curve,
        )

    def test(self, selection: Selection) -> TestScores:
        clock = Clock()
        features = self.features
        pair = (int(selection.chosen["k"]), float(selection.chosen["temperature"]))
        places, X = features.test
        with clock("test"):
            (scores,) = self._scores(features.fit, X, [pair], "voting")
        return TestScores(places, scores, features.provenance(), clock.seconds)

    def _scores(
        self, known: LabelledFeatures, X: Floats, pairs: list[tuple[int, float]], stage: str
    ) -> list[Floats]:
        """Return (n, K) decision values for each pair: the log of each class's share of votes.

        With several labels per image, it is the log odds of that share.
        """
        self._context.reporter.stage(stage, total=len(X), unit="images")
        several = self.features.kind.loss == "binary"
        votes = known.y if several else np.eye(self.features.n_classes, dtype=np.int64)[known.y]
        chunks: list[list[Floats]] = [[] for _ in pairs]
        most = min(max(k for k, _ in pairs), len(known.X))
        size = max(1, min(1024, VOTES_AT_ONCE // (most * votes.shape[1])))
        for first in range(0, len(X), size):
            some = X[first : first + size]
            shares = vote_shares(known.X, votes, some, pairs, self._context.device)
            for chunk, share in zip(chunks, shares, strict=True):
                share = np.clip(share, SMALLEST_SHARE, 1 - SMALLEST_SHARE if several else 1)
                score = np.log(share) - (np.log1p(-share) if several else 0)
                chunk.append(score.astype(np.float32))
            self._context.reporter.advance(len(some))
        return [np.concatenate(chunk) for chunk in chunks]


class KNearestNeighbours(OnFeatures):
    """The knn method."""

    name = "knn"
    has_network = False
    setting = KnnSetting
    prepared = PreparedNeighbours
    protocols = MappingProxyType(
        {
            # The released evaluation code's values.
            "dino2021": {"resize": "center-crop"},
            # The same votes on features of the linear setting's images.
            "kornblith2019": {"temperatures": (0.02, 0.05, 0.07, 0.1, 0.2)},
        }
    )


KNN = KNearestNeighbours()


def vote_shares(
    known: Floats,
    votes: npt.NDArray[np.int64],
    queries: Floats,
    pairs: Sequence[tuple[int, float]],
    device: str = "cpu",
) -> list[npt.NDArray[np.float64]]:
    """Compute each class's share of the weighted votes of the nearest neighbours.

    Parameters
    ----------
    known
        (n, d) features of the training images.
    votes
        (n, K) of 0 and 1: the classes that each image votes for.
    queries
        (m, d) features.
    pairs
        Pairs (k, T).

    Returns
    -------
    list
        (m, K) float64 for each pair.

    Raises
    ------
    FeatureError
        A feature vector is all zero (code ``features.zero``).
    """
    import torch

    place = resolve_device(device)  # type: ignore[arg-type]
    # Copies, since torch does not accept read-only memory-mapped arrays.
    left, right = (torch.from_numpy(np.array(each)).to(place) for each in (queries, known))
    norms = [each.norm(dim=1, keepdim=True) for each in (left, right)]
    if not all(bool((norm > 0).all()) for norm in norms):
        raise FeatureError(
            "features of an image are all zero: cosine similarity is undefined; use another "
            "network, or --settings linear",
            code="features.zero",
        )
    similarity = (left / norms[0]) @ (right / norms[1]).T
    most = min(max(k for k, _ in pairs), len(known))
    nearest, places = similarity.topk(most, dim=1)
    ballots = torch.from_numpy(votes).to(place)[places].double()
    shares = []
    for k, temperature in pairs:
        # The largest similarity is subtracted against overflow; shares do not change.
        weight = torch.exp((nearest[:, :k] - nearest[:, :1]).double() / temperature)
        total = (weight[:, :, None] * ballots[:, :k]).sum(1) / weight.sum(1, keepdim=True)
        shares.append(total.cpu().numpy())
    return shares
