"""The further studies of Kornblith et al. (2019), for any models, datasets and settings.

Convergence (their Fig. 8): how much accuracy after how many steps. Every number of steps is a run
of its own, with its own grid and its own cosine, not a checkpoint of a longer one. Size of the
training set (their Fig. 9): how much accuracy from how many images of each class, over random
subsets that are nested in each other.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from headstart import methods
from headstart.errors import UnknownNameError
from headstart.study.study import Study, setting_options

__all__ = ["FURTHER", "sweep_study"]

# The most steps of a network that starts from random weights; the others are halves of it.
MOST_STEPS = 78_125
HALVINGS = 10
FEWEST_STEPS = 5
# A network that starts from pretrained weights is trained for a quarter of that at most.
LONGER_FROM_SCRATCH = 2
# From 1 image a class; each dataset takes those that its smallest class has.
SIZES = tuple(2**i for i in range(17))
SUBSETS = (0, 1, 2)

Fields = Mapping[str, Any]
# Those of the paper's figure 9.
PAPER_SETTINGS = ("linear", "finetune", "scratch")


def sweep_study(name: str, fields: Fields) -> Study:
    """Make a further study.

    Parameters
    ----------
    name
        ``"convergence"`` or ``"dataset-size"``.
    fields
        Those of a `Study`; what they leave open the study chooses: its settings, its numbers of
        steps or of images per class, its seeds.

    Raises
    ------
    UnknownNameError, StudyError

    Examples
    --------
    >>> fields = {"models": ["efficientnet_lite0"], "datasets": ["digits"]}
    >>> study = sweep_study("dataset-size", fields)
    >>> [trial.dataset.examples_per_class for trial in study.trials() if trial.seed == 0][::3]
    [1, 2, 4, 8, 16, 32, 64]
    """
    if name not in FURTHER:
        raise UnknownNameError("study", name, FURTHER)
    return Study(**FURTHER[name](fields))


def convergence(fields: Fields) -> dict[str, Any]:
    """Return each setting that trains its numbers of steps, unless there are some for all."""
    chosen = fields.get("settings", ("finetune", "scratch"))
    if not fields.get("steps"):
        chosen = [_with_steps(setting) for setting in chosen]
    return {**fields, "settings": chosen}


def dataset_size(fields: Fields) -> dict[str, Any]:
    """Study every power of two, three subsets each, in all settings."""
    usual = {"settings": PAPER_SETTINGS, "examples_per_class": SIZES, "seeds": SUBSETS}
    return {**usual, **fields}


FURTHER: Mapping[str, Callable[[Fields], dict[str, Any]]] = MappingProxyType(
    {"convergence": convergence, "dataset-size": dataset_size}
)


def _with_steps(setting: str | dict[str, Any]) -> str | dict[str, Any]:
    """Add the numbers of steps, unless the setting has its own, or does not train."""
    options = setting_options(setting)
    if "steps" in options or "name" not in options:
        return setting
    found = methods.find(**options)
    if found.grid is None:
        return setting
    # Halves of the most steps of the study, or for a shorter protocol of four times its own.
    most = min(MOST_STEPS, 4 * found.grid.final_steps)
    steps = [most >> i for i in range(HALVINGS + 1) if most >> i >= FEWEST_STEPS]
    return {**options, "steps": steps[LONGER_FROM_SCRATCH * found.pretrained :][::-1]}
