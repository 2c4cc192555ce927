"""What `headstart pretrain` and `headstart ablate` do: train, register, transfer, show."""

import time
from pathlib import Path
from typing import Any

import typer

from headstart.analysis import analyze
from headstart.cli import estimates
from headstart.cli.commands import show_run
from headstart.cli.progress import LiveReporter
from headstart.cli.streams import console, resumable
from headstart.context import ProgressReporter, RunContext
from headstart.devices import Device
from headstart.pretraining import Pretrained, make_recipe
from headstart.pretraining import pretrain as pretrain_network
from headstart.stats import wilson_interval
from headstart.study import Ablation, Study, ablate

__all__ = ["ablate_and_show", "pretrain_and_show"]


def pretrain_and_show(
    arch: str,
    dataset: str,
    options: dict[str, Any],
    device: Device,
    *,
    name: str | None,
    configuration: str | None,
) -> None:
    """Pretrain one network under a live display; of several processes the first one speaks."""
    # It imports torch: what is wrong with the options of `ablate` is reported without.
    from headstart.training.ranks import Ranks

    start, ranks = time.perf_counter(), Ranks.from_environment()
    said = "run the same command again to resume from the last checkpoint"
    with resumable(said), LiveReporter(console) as live:
        reporter = live if ranks is None or ranks.first else ProgressReporter()
        recipe = make_recipe(arch, dataset, reporter=reporter, **options)
        title = f"pretraining {recipe.model.name} on {recipe.dataset.name}"
        reporter.trial_started(title, 1, 1)
        found = pretrain_network(
            recipe,
            RunContext(device=device, reporter=reporter),
            name=name,
            title=recipe.model.name if configuration else None,
            configuration=configuration,
            ranks=ranks,
        )
        reporter.trial_finished()
    if found:
        show(found, time.perf_counter() - start)


def ablate_and_show(
    study: Study,
    dataset: str,
    store: Path,
    options: dict[str, Any],
    device: Device,
    workers: int,
    executor: str | None,
) -> Ablation:
    """Pretrain, transfer and analyse under a live display."""
    start = time.perf_counter()
    with resumable("run the same command again to resume"), LiveReporter(console) as reporter:
        found = ablate(
            study,
            dataset,
            store,
            RunContext(device=device, reporter=reporter),
            workers=workers,
            executor=executor,
            **options,
        )
    for title, error in found.failures.items():
        typer.echo(f"error: {title}: {error}", err=True)
    if found.run:
        show_run(found.run, time.perf_counter() - start)
    if found.run and found.run.results:
        for part in estimates.ablation(analyze(store)):
            console.print(part)
        typer.echo(f"headstart analyze {store} --out FOLDER draws the figure")
    return found


def show(found: Pretrained, seconds: float) -> None:
    """State what was reached, and what may be done with it."""
    done = f"pretrained in {seconds:.1f} s" if found.fresh else "pretrained before"
    # Not through the console, which would break a long name.
    typer.echo(f"{found.name}: {accuracy_said(found)}; {done}")
    if not found.model.upstream:
        typer.echo("not kept as upstream accuracy, none or all of the images right")
    typer.echo(f"headstart run --models {found.name} --datasets NAME")


def accuracy_said(found: Pretrained) -> str:
    """State an upstream accuracy with its interval."""
    interval = wilson_interval(found.accuracy, found.n_test)
    return (
        f"{100 * found.accuracy:.2f} % top-1 of {found.n_test:,} test images of "
        f"{found.facts['recipe']['dataset']['name']} (95 %: {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f})"
    )
