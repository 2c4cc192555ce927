"""The whole study in miniature: small networks, small images, every part of the paper's chain."""

from headstart.miniature.chain import Miniature, run_miniature
from headstart.miniature.scale import FULL, TINY, Scale

__all__ = ["FULL", "TINY", "Miniature", "Scale", "run_miniature"]
