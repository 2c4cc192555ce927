"""The demo: the embedded models on real images, and one of them in all three settings."""

from pathlib import Path
from typing import Any

import typer

from headstart import datasets, models
from headstart.cli import render
from headstart.cli.commands import run_and_show
from headstart.cli.stamp import is_stamped, put_stamp
from headstart.cli.streams import console
from headstart.devices import Device
from headstart.files import replaced, writable_folder
from headstart.store import DATABASE_NAME, ResultStore, results_table
from headstart.study import Study, StudyRun

__all__ = ["run_demo"]

# Large enough for standard errors of about two points, small enough for minutes on two cores.
LIMIT = 300
DATASETS = ("digits", "glyphs", "fashion_mnist")
# Training at the full 224 pixels would take ten minutes, and so would a grid.
TRAINED_MODEL = "efficientnet_lite0?size=64"
TRAINED_DATASET = "digits"
STEPS = 100
# A store of its own: a fourth model with one dataset would be in every figure of the page.
TRAINED_NAME = "settings"


def run_demo(out: Path, device: Device) -> tuple[StudyRun, StudyRun]:
    """Measure the embedded models on the datasets that are on this machine; write the report.

    Then one model is measured on one dataset in all three settings.
    """
    present = [name for name in DATASETS if datasets.presence(name).present]
    console.print("Class-balanced subsets, drawn by seed 0:")
    for name in DATASETS:
        if name in present:
            console.print("  " + render.sizes_line(datasets.find(name, limit=LIMIT)))
        else:
            console.print(f"  {name}: left out ({datasets.presence(name).place})")
    probed = _measure(
        Study(models=models.EMBEDDED, datasets=tuple(present), limit=LIMIT),
        out / DATABASE_NAME,
        out / "results.csv",
        device,
    )
    console.print(f"\nOne of them at 64 pixels, in three settings ({STEPS} steps of training):")
    trained = _measure(
        Study(
            models=(TRAINED_MODEL,),
            datasets=(TRAINED_DATASET,),
            settings=("linear", _trained("finetune", 0.03), _trained("scratch", 0.1)),
            limit=LIMIT,
        ),
        out / f"{TRAINED_NAME}.db",
        out / f"{TRAINED_NAME}.csv",
        device,
    )
    if probed.results:
        _show_report(ResultStore(out / DATABASE_NAME), out / "report.html")
    return probed, trained


def _trained(name: str, rate: float) -> dict[str, Any]:
    quick = {"name": name, "protocol": "quick"}
    return {**quick, "steps": STEPS, "learning_rates": [rate], "weight_decays": [0.0]}


def _measure(study: Study, store: Path, table: Path, device: Device) -> StudyRun:
    """Run a study, show its table, and write it beside its store."""
    run = run_and_show(study, store, device)
    writable_folder(table.parent)
    with replaced(table) as temporary:
        results_table(run.results).to_csv(temporary, index=False)
    console.print(f"Results: {table}, {store} and its predictions beside it.")
    return run


def _show_report(store: ResultStore, page: Path) -> None:
    """Name the page of a store; draw it where it is not there, or not of these results."""
    if is_stamped(page, store):
        typer.echo(f"Report: {page.resolve()}")
        return
    # Nothing else here analyses: `headstart results` starts in half the time without.
    from headstart.analysis import analyze
    from headstart.cli.analysis import write_report

    write_report(analyze(store.path), page, None, None)
    put_stamp(page, store)
