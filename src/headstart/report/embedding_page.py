"""The page of an embedding: one self-contained file, one point per image."""

from collections.abc import Mapping

import pandas as pd

from headstart.figures.figure_data import FigureData, as_key
from headstart.figures.scatter_charts import draw_embedding
from headstart.figures.style import class_styles
from headstart.report.page_model import Column, PageTable, filled, named
from headstart.report.page_templates import render_page
from headstart.spec.formatting import decimals, number

__all__ = ["embedding_html", "separation_table", "similarity_table"]

Tables = Mapping[str, pd.DataFrame]


def embedding_html(tables: Tables, title: str, source: str) -> str:
    """Return the page of the tables that `headstart.embedding` makes as HTML."""
    data = FigureData(tables, interactive=True)
    images = tables["images"]
    shown = [separation_table(tables["separation"]), similarity_table(tables["similarity"])]
    return render_page(
        "embedding.html",
        title,
        {},
        figures=[draw_embedding(data)],
        tables=shown,
        description=source,
        source=source,
        styles={as_key(name): look for name, look in class_styles(images["class"]).items()},
        # Show single pixels only where all images are tiny.
        tiny=bool(images["tiny"].all()),
        separation=shown[0],
        neighbours=tables["separation"]["neighbours"].iloc[0],
        similarity=shown[1],
    )


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
