"""The metrics that operators are told to watch, and alerted by, are those that there are."""

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_metrics_that_there_are(rule: Any) -> None:
    promql_parser.parse(rule["expr"])
    asked = re.findall("riverrun_[a-z_]+", rule["expr"])
    assert asked
    # A histogram's number of observations has a name of its own.
    assert {name.removesuffix("_count") for name in asked} <= exported()
    assert rule["annotations"]["summary"]
