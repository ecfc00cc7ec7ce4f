"""The names under which Riverrun's metrics are exported, read from the code that makes them."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("feature_repo", "serving", "streaming", "trainer", "riverrun")
MADE = {
    "Counter": "_total",
    "CounterMetricFamily": "_total",
    "Info": "_info",
    "InfoMetricFamily": "_info",
}
"""What Prometheus is shown of a metric that is made by one of these, behind its name."""


@cache
def exported() -> frozenset[str]:
    """Return every name as Prometheus has it; of a histogram without `_bucket` and the like."""
    trees = [
        ast.parse(file.read_text())
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch("riverrun_[a-z_]+", node.value)
    }
    suffixes = {
        node.args[0].value: MADE[ast.unparse(node.func)]
        for node in nodes
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in MADE
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    return frozenset(name + str(suffixes.get(name, "")) for name in named)
