"""Several networks are pretrained: one after the other here, or beside each other elsewhere."""

from collections.abc import Iterator, Sequence
from functools import partial

from headstart.errors import HeadstartError
from headstart.executors import Executor, Tell
from headstart.pretraining.asked import Asked, Pretrained
from headstart.pretraining.run import pretrain_asked
from headstart.workspace import Sending, Site, Workspace, receive

__all__ = ["pretrain_all"]


def pretrain_all(
    asked: Sequence[Asked], workspace: Workspace, executor: Executor | None = None
) -> Iterator[tuple[Asked, Pretrained | HeadstartError]]:
    """Give each network that is asked for with what came of it, as soon as it is there.

    One that fails does not stop the others; who is stopped by it asks for no further one.

    Parameters
    ----------
    asked
        The networks.
    workspace
        Where and how.
    executor
        Trains them beside each other, and they come in whatever order; one after the other in this
        process, in the order given, where there is none.
    """
    watcher = workspace.watcher
    if executor is None:
        for number, one in enumerate(asked, start=1):
            watcher.trial_started(f"pretraining {one.said}", number, len(asked))
            yield one, _attempt(one, workspace)
            watcher.trial_finished()
        return
    watcher.stage("pretraining networks", total=len(asked), unit="networks")
    away, hear = partial(_attempt_away, workspace.site), partial(receive, watcher)
    for one, outcome in executor.map(away, asked, hear):
        yield one, outcome
        watcher.advance()


def _attempt(asked: Asked, workspace: Workspace) -> Pretrained | HeadstartError:
    try:
        return pretrain_asked(asked, workspace)
    except HeadstartError as error:
        return error


def _attempt_away(site: Site, asked: Asked, tell: Tell) -> Pretrained | HeadstartError:
    """Pretrain wherever this runs: it takes all that it needs from its arguments."""
    return _attempt(asked, Workspace.at(site, Sending(tell)))
