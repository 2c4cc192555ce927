"""Stores of made-up predictions, for the tests of analysis and report."""

from hashlib import sha256
from pathlib import Path

import numpy as np

from headstart import datasets, methods, metrics, models
from headstart.labels import kind_of
from headstart.spec import Prediction, Result, Selection, Trial
from headstart.store import ResultStore

N_TEST = 200


def add_result(
    store: ResultStore,
    model: str,
    right: float,
    dataset: str = "digits",
    seed: int = 0,
    metric: str = "top-1",
    protocol: str = "kornblith2019",
    lam: float = 1.0,
) -> Result:
    """Store predictions on 200 digits of which a share `right` is right, the hard ones wrong."""
    found = datasets.find(dataset, limit=N_TEST).model_copy(update={"metric": metric})
    setting = methods.find("linear").model_copy(update={"protocol": protocol})
    # Renamed weights: each model of a test is a trial of its own.
    base = models.find("efficientnet_lite0")
    fake = base.weights.model_copy(update={"sha256": sha256(model.encode()).hexdigest()})
    own = base.model_copy(update={"name": model, "weights": fake})
    random = np.random.RandomState(seed)
    label = np.arange(N_TEST, dtype=np.int64) % 10
    noise = np.random.RandomState(len(model) + int(1000 * right)).normal(0, 0.1, N_TEST)
    is_right = random.permutation(np.arange(N_TEST)) / N_TEST + noise < right
    scores = np.zeros((N_TEST, 10), dtype=np.float32)
    scores[np.arange(N_TEST), np.where(is_right, label, (label + 1) % 10)] = 1
    result = Result(
        trial=Trial(model=own, dataset=found, setting=setting, seed=seed),
        metrics={name: metrics.score(name, label, scores) for name in kind_of(metric).metrics},
        n_test=N_TEST,
        selection=Selection(
            examples="r",
            chosen={"lambda": lam},
            validation_curve=({"lambda": lam, "accuracy": 0.5, "converged": 1.0},),
        ),
        predictions=Prediction(np.arange(N_TEST, dtype=np.int64), label, scores),
        provenance={"versions": {"numpy": "2"}, "python": "3.11", "examples": "r"},
        seconds={"select": 1.5},
    )
    assert store.add(result)
    return result


def make_store(path: Path, models: dict[str, float], **options) -> ResultStore:
    """A store of some models, each with its share of right answers."""
    store = ResultStore(path, create=True)
    for model, right in models.items():
        add_result(store, model, right, **options)
    return store


def make_result(seed: int = 0) -> Result:
    """A result of 20 images, without a model's numbers."""
    trial = Trial(
        model=models.find("efficientnet_lite0"),
        dataset=datasets.find("digits", limit=100),
        setting=methods.find("linear"),
        seed=seed,
    )
    scores = np.random.RandomState(seed).randn(20, 10).astype(np.float32)
    label = np.arange(20, dtype=np.int64) % 10
    return Result(
        trial=trial,
        metrics={"top-1": 0.5, "mean-per-class": 0.4},
        n_test=20,
        selection=Selection(
            examples="r",
            chosen={"lambda": 1.0},
            validation_curve=({"lambda": 1.0, "accuracy": 0.5, "converged": 1.0},),
        ),
        predictions=Prediction(np.arange(20, dtype=np.int64), label, scores),
        provenance={"versions": {"numpy": "2"}},
        seconds={"select": 1.5},
    )


# Stores twelve results from a seed on. Arguments: store, first seed, this folder.
WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from headstart.store import ResultStore
from stores import make_result
store = ResultStore(sys.argv[1], create=True)
first = int(sys.argv[2])
for seed in range(first, first + 12):
    store.add(make_result(seed))
"""
