"""`headstart miniature`: run the chain, then analyse, draw and write all of it.

What is slow to import is imported when the command runs.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import BAD_INPUT, DeviceOption, ExecutorOptions
from headstart.cli.output import echo
from headstart.registry import REPORTERS
from headstart.threads import available_cpus

if TYPE_CHECKING:
    from headstart.context import RunContext
    from headstart.contrib.miniature.chain import ChainScale, Miniature
    from headstart.devices import Device

__all__ = ["miniature"]

TITLE = "The whole study in miniature"


@dataclass(frozen=True)
class MiniatureExecutorOptions(ExecutorOptions):
    """Where trials run; by default in a process per CPU."""

    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of workers (default: one per CPU); 0 runs in this process.",
            min=0,
            metavar="INTEGER",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments of `executor_of`."""
        found = super().keywords()
        options = {"name": found["executor"], **found["executor_options"]}
        here = self.workers is None and self.executor is None
        return {"workers": available_cpus() if here else self.workers or 0, **options}


def miniature(
    executors: MiniatureExecutorOptions,
    out: Annotated[
        Path, typer.Option(help="Folder for results, figures, tables and report.", metavar="FOLDER")
    ] = Path("headstart-miniature"),
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Smoke test in minutes; results are not meaningful.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Run the whole study of the paper on small networks and images, without any download."""
    from headstart.contrib.miniature.chain import FULL, TINY

    if _run(TINY if tiny else FULL, out, device, executors.keywords()).failures:
        sys.exit(BAD_INPUT)


def _run(
    scale: "ChainScale", out: Path, device: "Device", executors: dict[str, Any]
) -> "Miniature":
    """Run what is not there yet, write the report, tables, figures and the embedding."""
    from headstart.analysis import analyze
    from headstart.cli import analysis_tables
    from headstart.cli.analyze_command import write_reports, write_tables
    from headstart.cli.output import console, resumable
    from headstart.cli.progress import LiveReporter
    from headstart.context import RunContext
    from headstart.contrib.miniature.chain import run_miniature
    from headstart.executors import executor_of
    from headstart.files import writable_folder
    from headstart.report.report_page import HtmlPage
    from headstart.store import DATABASE_NAME

    writable_folder(out)
    command = " ".join(["headstart", *map(shlex.quote, sys.argv[1:])])
    with resumable("run the same command again to resume"), LiveReporter(console) as reporter:
        context = RunContext(device=device, reporter=reporter)
        with executor_of(device=device, note=reporter.note, **executors) as executor:
            facts = {"command": command, "workers": executor.workers if executor else 0}
            found = run_miniature(scale, out, context, executor, facts)
        with found.timing_log.stage("embedding"):
            _embed(scale, out, context)
    for failure in found.failures:
        echo(f"error: {failure.trial.title}: {failure.error}", err=True)
    with found.timing_log.stage("report"):
        analysis = analyze(out / DATABASE_NAME)
        write_tables(analysis, out)
        write_reports(
            analysis,
            (HtmlPage(TITLE), out / "report.html"),
            (REPORTERS["csv"], out / "cells-with-marks.csv"),
        )
    for part in analysis_tables.summary(analysis):
        console.print(part)
    seconds = found.timing_log.seconds
    console.print(
        f"{found.timing_log.total / 60:.1f} minutes in all: "
        + ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    )
    return found


def _embed(scale: "ChainScale", out: Path, context: "RunContext") -> None:
    """Show what the most and the least regularised training of one network make of a target."""
    from headstart import datasets, models
    from headstart.cli.embed_command import write_files
    from headstart.embedding import EmbedOptions, embed
    from headstart.files import writable_folder

    seen = []
    for label in ("S1", "S5"):
        model = models.find(f"pretrained:{scale.name_of(scale.ablated[0], label)}")
        # All configurations have the name of their network; here they stand side by side.
        seen.append(model.model_copy(update={"name": f"{model.name} {label}"}))
    found = embed(
        seen,
        datasets.find(scale.embed_dataset, limit=scale.targets[scale.embed_dataset]),
        EmbedOptions(classes=scale.classes),
        "fp32",
        context,
    )
    write_files(found, writable_folder(out / "embedding"))
