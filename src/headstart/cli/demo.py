"""The demo: the embedded models on real images, and one of them in three settings.

Drawing the report takes seconds, and the demo is run again and again: the page itself states by a
stamp what it was drawn of.
"""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headstart import datasets, models
from headstart.cli.output import console, echo
from headstart.cli.results_tables import sizes_line
from headstart.cli.run_command import run_and_show
from headstart.devices import Device
from headstart.files import replaced, storage_errors, writable_folder
from headstart.registry import REPORTERS
from headstart.report.reporter import to_csv
from headstart.store import DATABASE_NAME, ResultStore, results_table
from headstart.study import Study, StudyRun

__all__ = ["is_stamped", "put_stamp", "run_demo"]

STAMP = re.compile(rb'<meta name="headstart-stamp" content="([0-9a-f]{64})">\n')
PLACE = b"<head>\n"
PACKAGE = Path(__file__).parents[1]
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
            console.print("  " + sizes_line(datasets.find(name, limit=LIMIT)))
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
        temporary.write_text(to_csv(results_table(run.results)), encoding="utf-8", newline="")
    console.print(f"Results: {table}, {store} and its predictions beside it.")
    return run


def _show_report(store: ResultStore, page: Path) -> None:
    """Name the page of a store; draw it where it is not there, or not of these results."""
    if is_stamped(page, store):
        echo(f"Report: {page.resolve()}")
        return
    # Nothing else here analyses: `headstart results` starts in half the time without.
    from headstart.analysis import analyze
    from headstart.cli.analyze_command import write_reports

    write_reports(analyze(store.path), (REPORTERS["html"], page))
    put_stamp(page, store)


def is_stamped(page: Path, store: ResultStore) -> bool:
    """Whether `page` is whole, and drawn of just these results by just this program.

    A page that was drawn by `headstart report`, of a selection or with options, has no stamp.
    """
    if not page.is_file():
        return False
    with storage_errors(page, reading=True):
        content = page.read_bytes()
    found = STAMP.search(content)
    return found is not None and found[1].decode() == _stamp(STAMP.sub(b"", content, 1), store)


def put_stamp(page: Path, store: ResultStore) -> None:
    """Write into a page that was just drawn what it was drawn of.

    Raises
    ------
    StorageError
        It cannot be read or written.
    """
    with storage_errors(page, reading=True):
        content = page.read_bytes()
    tag = f'<meta name="headstart-stamp" content="{_stamp(content, store)}">\n'
    with replaced(page) as temporary:
        temporary.write_bytes(content.replace(PLACE, PLACE + tag.encode(), 1))


def _stamp(content: bytes, store: ResultStore) -> str:
    """Digest of a page without its stamp, of the results, of where they are, and of the program."""
    whole = hashlib.sha256(content)
    # The page names its source.
    for part in (str(store.path), store.revision(), _program()):
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()


def _program() -> str:
    """Digest of headstart's own files: a version is the same while a working copy changes."""
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    whole = hashlib.sha256(version("headstart").encode())
    for path in files:
        whole.update(f"{path.relative_to(PACKAGE)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
