"""Which backbone for these images? Candidates, what is expected of them, and the race."""
