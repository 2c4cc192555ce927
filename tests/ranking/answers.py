"""Records of answers for tests."""

from headstart.ranking.answer import Cost, RankedModel


def ranked_model(name: str, accuracy: float, latency: float, **more) -> RankedModel:
    fields = {
        "low": accuracy - 0.02, "high": accuracy + 0.02, "images": 400, "difference": 0.0,
        "difference_low": -0.01, "difference_high": 0.01, "compared": 400, "tied": True,
        "pareto": True, "reason": "", "prior": None, "parameters": 10**6, "multiply_adds": None,
        "licence": "apache-2.0", "why": "named", "seconds": 3.0,
    }  # fmt: skip
    cost = Cost(latency, 1.2 * latency, 1 / latency, 4_000_000, "torch")
    return RankedModel(name=name, accuracy=accuracy, cost=cost, **{**fields, **more})
