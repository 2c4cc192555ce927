"""What `headstart upstream` does: measure, keep, show."""

from pathlib import Path

import typer

from headstart import models
from headstart.cli.progress import LiveReporter
from headstart.cli.streams import console
from headstart.cli.tables import plain_table, shortened
from headstart.context import RunContext
from headstart.devices import Device
from headstart.errors import StudyError
from headstart.models.pretrained import outputs_of
from headstart.spec import Model
from headstart.stats import wilson_interval
from headstart.study.study import distinct
from headstart.upstream import Measured, measure, read_validation

__all__ = ["measure_and_show"]


def measure_and_show(
    folder: Path,
    names: str,
    device: Device,
    limit: int | None,
    *,
    order: Path | None,
    trust: bool,
) -> None:
    """Measure networks one after the other; what is measured is kept though a later one fails."""
    named = [(name, models.find(name)) for name in models.split_names(names)]
    chosen, notes = distinct("model", named)
    for note in notes:
        typer.echo(note)
    if not chosen:
        raise StudyError(
            "--models names no model: expected at least one", code="study.missing", name="models"
        )
    # Networks of several orders go by the names of the folders.
    known = {outputs_of(model) for model in chosen}
    classes, split = read_validation(folder, limit, order, known.pop() if len(known) == 1 else None)
    found: list[tuple[Model, Measured]] = []
    try:
        with LiveReporter(console) as reporter:
            context = RunContext(device=device, reporter=reporter, trust=trust)
            for number, model in enumerate(chosen, start=1):
                reporter.trial_started(model.name, number, len(chosen))
                found.append((model, measure(model, classes, split, context)))
                reporter.trial_finished()
    finally:
        if found:
            _show(found)


def _show(found: list[tuple[Model, Measured]]) -> None:
    numbers = ("top-1 %", "95 % CI", "images", "known %")
    table = plain_table("model", *numbers, right=set(numbers))
    for model, measured in found:
        interval = wilson_interval(measured.value, measured.n)
        known = model.upstream_accuracy
        table.add_row(
            shortened(model.name),
            f"{100 * measured.value:.2f}",
            f"{100 * interval.low:.1f}-{100 * interval.high:.1f}",
            f"{measured.n:,}",
            "-" if known is None else f"{100 * known:.2f}",
        )
    console.print(table)
    for model, measured in found:
        if measured.doubt:
            typer.echo(f"not kept: {model.name}: {measured.doubt}")
