"""The page of an embedding: one self-contained file, one point per image."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from headstart.figures.encodings import aria_label, from_row, quoted, tooltips
from headstart.figures.figure import chart_spec
from headstart.figures.figure_data import in_styles
from headstart.figures.scatter_charts import embedded, numbers_label
from headstart.figures.style import Style, class_styles
from headstart.report.page_model import Column, PageTable, filled, named
from headstart.report.page_templates import render_page
from headstart.spec.formatting import decimals, number

__all__ = ["embedding_html", "separation_table", "similarity_table"]

Tables = Mapping[str, pd.DataFrame]


def embedding_html(tables: Tables, title: str, source: str) -> str:
    """Return the page of the tables that `headstart.embedding` makes as HTML."""
    points, images = tables["embedding"].dropna(subset=["x", "y"]), tables["images"]
    points = points.sort_values(["position", "image"], kind="stable")
    separation = tables["separation"].sort_values("position").to_dict("records")
    styles = class_styles(images["class"])
    networks = [own for _, own in points.groupby("position", sort=True)]
    names = [str(own["model"].iloc[0]) for own in networks]
    content = {
        "tables": {"points": point_columns(images, networks, styles)},
        "charts": {f"network-{i}": chart(own, i, names[i]) for i, own in enumerate(networks)},
    }
    tables_shown = [separation_table(tables["separation"]), similarity_table(tables["similarity"])]
    return render_page(
        "embedding.html",
        title,
        content,
        tables=tables_shown,
        description=source,
        source=source,
        panels=[*zip(names, map(numbers_label, separation), strict=True)],
        styles=styles,
        # Show single pixels only where all images are tiny.
        tiny=bool(images["tiny"].all()),
        separation=tables_shown[0],
        neighbours=separation[0]["neighbours"],
        similarity=tables_shown[1],
    )


def point_columns(
    images: pd.DataFrame, networks: list[pd.DataFrame], styles: dict[str, Style]
) -> dict[str, Any]:
    """Return what images are, their colours and shapes, their positions per network, by column."""
    table = images.set_index("image").drop(columns="tiny")
    table = in_styles(table, "", [styles[name] for name in table["class"]])
    for position, own in enumerate(networks):
        table[[f"x{position}", f"y{position}"]] = own.set_index("image")[["x", "y"]].round(3)
    return {str(name): column.tolist() for name, column in table.reset_index().items()}


def chart(own: pd.DataFrame, position: int, name: str) -> dict[str, Any]:
    """Return the chart of one network; an image hovered in any chart is ringed in all."""
    base = embedded(alt.NamedData(name="points"), own, (f"x{position}", f"y{position}"))
    unlit = f"lit !== {quoted('')} && datum['class'] !== lit"
    points = base.mark_point(filled=True, size=34, stroke="var(--paper)", strokeWidth=0.4).encode(
        from_row(alt.Color, "colour"),
        from_row(alt.Shape, "shape"),
        aria_label("class", "where"),
        opacity=alt.condition(unlit, alt.value(0.12), alt.value(0.9)),
        tooltip=tooltips(**{"class": "title", "picture": "image", "where": "name"}),
    )
    # Below the points and unfilled, so that the pointer stays on its point.
    ring = base.transform_filter("datum.image === picked").mark_point(
        size=190, fill="none", stroke="var(--ink)", strokeWidth=1.6, aria=False
    )
    params = [alt.param(name="lit", value=""), alt.param(name="picked", value=-1)]
    spec = (
        alt.layer(ring, points)
        .add_params(*params)
        .properties(
            width="container",
            height="container",
            description=f"{name}: t-SNE of {len(own)} images",
        )
    )
    return {**chart_spec(spec), "autosize": {"type": "fit", "contains": "padding"}}


def separation_table(separation: pd.DataFrame) -> PageTable:
    """Return one row per network: how far the classes are apart for it."""
    rows = separation.sort_values("position").to_dict("records")
    columns = [
        named("Network", "model"),
        Column("Features", "features", "{:,}".format),
        Column("Silhouette", "silhouette", decimals(3)),
        Column(f"{rows[0]['neighbours']} neighbours", "neighbour_accuracy",
               decimals(1, scale=100), "%"),
        Column("Within / between", "variance_ratio", number),
    ]  # fmt: skip
    return filled("separation", "Separation of classes", columns, rows)


def similarity_table(similarity: pd.DataFrame) -> PageTable:
    """Return one row per pair of networks: how alike their features are."""
    columns = [
        named("Network", "model"),
        named("Other", "other"),
        Column("CKA", "cka", decimals(3)),
        Column("Unbiased", "unbiased_cka", decimals(3)),
    ]
    rows = similarity.to_dict("records")
    return filled("similarity", "Similarity of representations", columns, rows)
