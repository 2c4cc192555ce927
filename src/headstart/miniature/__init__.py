"""The whole study in miniature: every part of the paper, with small networks and images."""

from headstart.miniature.chain import Miniature, run_miniature
from headstart.miniature.scale import FULL, TINY, Scale

__all__ = ["FULL", "TINY", "Miniature", "Scale", "run_miniature"]
