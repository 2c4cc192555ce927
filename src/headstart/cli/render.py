"""Nouns -> tables for the screen."""

from typing import Any

from rich.table import Table

from headstart.datasets import limited_sizes
from headstart.spec import Dataset, Result
from headstart.stats import wilson_interval
from headstart.store import result_row

__all__ = ["datasets", "models", "results", "sizes_line"]


def results(found: list[Result]) -> Table:
    """A row a result; top-1 accuracies with their 95 % interval from the size of the test set."""
    table = _table(
        "model", "upstream %", "dataset", "setting", "metric", "accuracy %", "95 % interval",
        "n test", "seed", "lambda", "seconds",
        right={"upstream %", "accuracy %", "n test", "seed", "lambda", "seconds"},
    )  # fmt: skip
    for result in found:
        row = result_row(result)
        upstream = row["upstream_accuracy"]
        table.add_row(
            row["model"],
            f"{100 * upstream:.2f}" if upstream else "-",
            row["dataset"],
            row["setting"] if row["precision"] == "fp32" else f"{row['setting']} {row['precision']}",
            row["metric"],
            f"{100 * row['accuracy']:.2f}",
            _interval(result),
            f"{row['n_test']:,}",
            str(row["seed"]),
            f"{row['lambda']:.3g}",
            f"{row['seconds']:.1f}",
        )
    notes = []
    if unconverged := sum(result_row(r)["unconverged"] for r in found):
        notes.append(f"{unconverged} fits did not reach their tolerance")
    if skipped := sum(result_row(r)["skipped_images"] for r in found):
        notes.append(f"{skipped} images did not decode and were left out")
    table.caption = "; ".join(notes) or None
    return table


def models(rows: list[dict[str, Any]]) -> Table:
    """A row a network."""
    table = _table(
        "model", "input", "features", "ImageNet top-1 %", "present", "where",
        right={"input", "features", "ImageNet top-1 %"},
    )  # fmt: skip
    for row in rows:
        upstream = row["upstream"]
        table.add_row(
            row["name"],
            f"{row['input_size']} px",
            str(row["feature_dim"]),
            f"{100 * upstream[0]['value']:.2f}" if upstream else "-",
            "yes" if row["present"] else "no",
            row["place"],
        )
    return table


def datasets(rows: list[dict[str, Any]]) -> Table:
    """A row a dataset."""
    numbers = ("classes", "train", "validation", "test")
    table = _table("dataset", *numbers, "metric", "present", "where", right=set(numbers))
    for row in rows:
        table.add_row(
            row["name"],
            str(len(row["classes"])),
            *(f"{size:,}" for size in row["sizes"].values()),
            row["metric"],
            "yes" if row["present"] else "no",
            row["place"],
        )
    return table


def sizes_line(dataset: Dataset) -> str:
    """Say how much of a dataset is used."""
    used = dict(limited_sizes(dataset))
    parts = [f"{used[split]:,} of {size:,} {split}" for split, size in dataset.sizes]
    return f"{dataset.name}: {', '.join(parts)} images, class-balanced, drawn by the seed"


def _interval(result: Result) -> str:
    accuracy = result.accuracy
    if accuracy is None or result.trial.dataset.metric != "top-1":
        return "-"
    interval = wilson_interval(accuracy, result.n_test)
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _table(*columns: str, right: set[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table
