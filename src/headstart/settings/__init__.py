"""The ways to transfer: each prepares a dataset for a model, selects, refits, and scores."""

from headstart.settings.needs import Needs
from headstart.settings.presets import NAMES, find
from headstart.settings.transfer import Transfer, needs, prepare

__all__ = ["NAMES", "Needs", "Transfer", "find", "needs", "prepare"]
