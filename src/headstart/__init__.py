"""headstart: how much of a head start does pretraining give?

Measures how pretrained image models transfer to other image-classification tasks.

>>> import headstart as hs
>>> study = hs.Study(models=["efficientnet_lite0"], datasets=["digits"], limit=100)
>>> run = study.run(store="results.db")  # doctest: +SKIP
>>> hs.results("results.db")[["model", "dataset", "accuracy", "n_test"]]  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from headstart import metrics
    from headstart.analysis import Analysis, analyze
    from headstart.context import ProgressReporter, RunContext
    from headstart.deploy.classifier import Classifier, load
    from headstart.errors import HeadstartError
    from headstart.methods.linear import LinearSetting
    from headstart.probe import LogisticRegressionPath
    from headstart.ranking.answer import RankAnswer
    from headstart.ranking.rank_backbones import rank
    from headstart.spec import (
        Dataset,
        Estimate,
        Model,
        Prediction,
        Result,
        Selection,
        Setting,
        Trial,
    )
    from headstart.store import ResultStore, results
    from headstart.study import Study, StudyRun
    from headstart.trial import run_trial

__all__ = [
    "Analysis",
    "Classifier",
    "Dataset",
    "Estimate",
    "HeadstartError",
    "LinearSetting",
    "LogisticRegressionPath",
    "Model",
    "Prediction",
    "ProgressReporter",
    "RankAnswer",
    "Result",
    "ResultStore",
    "RunContext",
    "Selection",
    "Setting",
    "Study",
    "StudyRun",
    "Trial",
    "analyze",
    "load",
    "metrics",
    "rank",
    "results",
    "run_trial",
]

HOMES = {
    "headstart.analysis": ("Analysis", "analyze"),
    "headstart.deploy.classifier": ("Classifier", "load"),
    "headstart.errors": ("HeadstartError",),
    "headstart.methods.linear": ("LinearSetting",),
    "headstart.probe": ("LogisticRegressionPath",),
    "headstart.ranking.answer": ("RankAnswer",),
    "headstart.ranking.rank_backbones": ("rank",),
    "headstart.spec": (
        "Dataset",
        "Estimate",
        "Model",
        "Prediction",
        "Result",
        "Selection",
        "Setting",
        "Trial",
    ),
    "headstart.store": ("ResultStore", "results"),
    "headstart.study": ("Study", "StudyRun"),
    "headstart.trial": ("run_trial",),
    "headstart.context": ("ProgressReporter", "RunContext"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `headstart --help` needs none of them."""
    for module, names in HOMES.items():
        if name in names:
            # Kept, so that this runs once a name.
            globals()[name] = value = getattr(import_module(module), name)
            return value
    if name == "__version__":
        # A moment's work, and needed by few.
        from importlib.metadata import version

        return version("headstart")
    if name == "metrics":
        return import_module("headstart.metrics")
    raise AttributeError(f"module 'headstart' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
