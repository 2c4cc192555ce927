"""The ways to transfer: each says what to try on validation, measures it, chooses, and tests."""

from collections.abc import Mapping
from types import MappingProxyType

from headstart.settings.linear import LinearWay
from headstart.settings.needs import Needs
from headstart.settings.presets import NAMES, find
from headstart.settings.training import TrainingWay, check_budget
from headstart.settings.way import Tested, Way
from headstart.spec import Trial

__all__ = ["NAMES", "Needs", "Tested", "Way", "check_budget", "find", "needs", "way_of"]

# By the name of a setting.
WAYS: Mapping[str, Way] = MappingProxyType(
    {"linear": LinearWay(), "finetune": TrainingWay(), "scratch": TrainingWay()}
)


def way_of(trial: Trial) -> Way:
    """Find what carries a trial's setting out."""
    return WAYS[trial.setting.name]


def needs(trial: Trial) -> Needs:
    """Say what a trial needs of this machine before it is begun."""
    return way_of(trial).needs(trial)
