"""The ways to transfer: each prepares a dataset for a model, selects, refits, and scores."""

from headstart.settings.presets import NAMES, find
from headstart.settings.transfer import Transfer, prepare

__all__ = ["NAMES", "Transfer", "find", "prepare"]
