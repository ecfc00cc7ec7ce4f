"""The metrics that operators are told to watch, and alerted by, are those that there are."""

import ast
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from streaming.metrics import RETRIED, StreamMetrics
from tests.support.exported_metrics import ROOT, exported

ALERTS = ROOT / "infra" / "prometheus" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def told(document: Path) -> set[str]:
    return set(re.findall(r"`(riverrun_[a-z_]+)`", document.read_text()))


def test_every_metric_is_told_of_by_its_name() -> None:
    assert told(ROOT / "infra" / "docs" / "operating.md") == exported()


def test_no_document_tells_of_a_metric_that_there_is_not() -> None:
    for document in (ROOT / "README.md", *(ROOT / "infra").rglob("*.md")):
        assert told(document) <= exported(), document.name


def test_every_row_that_tells_of_an_alert_has_a_rule() -> None:
    rows = (ROOT / "infra" / "docs" / "operating.md").read_text().splitlines()
    names = [
        set(re.findall("`(riverrun_[a-z_]+)`", row.split("|")[1]))
        for row in rows
        if row.startswith("| `riverrun_") and re.search("[Aa]lert (on|where) ", row)
    ]
    assert names
    asked = {name for rule in RULES for name in re.findall("riverrun_[a-z_]+", rule["expr"])}
    asked = {name.removesuffix("_count") for name in asked}
    assert [each for each in names if not each & asked] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_metrics_that_there_are(rule: Any) -> None:
    promql_parser.parse(rule["expr"])
    asked = re.findall("riverrun_[a-z_]+", rule["expr"])
    assert asked
    # A histogram's number of observations has a name of its own.
    assert {name.removesuffix("_count") for name in asked} <= exported()
    assert rule["annotations"]["summary"]


def test_counts_begin_with_zeros_before_anything_is_counted() -> None:
    """Prometheus sees no increase in the value that a series begins with."""
    read = StreamMetrics().registry.get_sample_value
    for topic in ("events", "items", "users"):
        assert read("riverrun_stream_records_total", {"topic": topic, "result": "dead"}) == 0
        assert read("riverrun_stream_misplaced_records_total", {"topic": topic}) == 0
        assert read("riverrun_archive_rows_total", {"topic": topic}) == 0
    for result in ("applied", "repeated", "erased"):
        assert read("riverrun_stream_records_total", {"topic": "events", "result": result}) == 0
    for stage in RETRIED:
        assert read("riverrun_stream_retries_total", {"stage": stage}) == 0


def test_every_stage_that_is_retried_is_known() -> None:
    calls = [
        node
        for file in (ROOT / "streaming").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._retrying"
    ]
    assert {ast.literal_eval(call.args[0]) for call in calls} == set(RETRIED)
