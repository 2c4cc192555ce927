"""Arrays -> numbers with intervals. numpy and scipy only."""

from headstart.stats.proportion import wilson_interval

__all__ = ["wilson_interval"]
