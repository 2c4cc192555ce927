"""The whole study in miniature: every part of the paper, with small networks and images."""
