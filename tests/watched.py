"""Images and reporters that note what is done with them."""

from headstart.context import ProgressReporter


class StopError(Exception):
    """What comes in between."""


class Watched:
    """Images that note what is decoded, of which one raises StopError."""

    def __init__(self, images, stop=-1):
        self.images, self.stop, self.decoded = images, stop, []

    def __len__(self):
        return len(self.images)

    def decode(self, row):
        self.decoded.append(row)
        if row == self.stop:
            raise StopError
        return self.images.decode(row)

    def where(self, row):
        return self.images.where(row)


class Listener(ProgressReporter):
    """Keep notes, trials as (title, number, total), stages as (name, total, unit), and steps."""

    def __init__(self):
        self.notes, self.trials, self.stages, self.done = [], [], [], 0

    def trial_started(self, title, number, total):
        self.trials.append((title, number, total))
        return self

    def note(self, message):
        self.notes.append(message)

    def stage(self, name, total=None, unit=""):
        self.stages.append((name, total, unit))

    def advance(self, steps=1):
        self.done += steps

    @property
    def names(self):
        """Names of the stages."""
        return [name for name, _, _ in self.stages]
