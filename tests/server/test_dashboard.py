"""docs/grafana/servegen.json shows what a server has."""

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.server.test_process import BODY, started

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs/grafana/servegen.json").read_text())
ADDED_BY_PROMETHEUS = {"job", "instance"}


def expressions() -> list[str]:
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return found + [v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]


def queried() -> set[str]:
    return {name for text in expressions() for name in re.findall(r"\b(?:servegen|process)_\w+", text)}


def labels(text: str) -> set[str]:
    """Labels that an expression selects or groups by."""
    selected = {
        label for block in re.findall(r"{(.*?)}", text) for label in re.findall(r"(\w+)\s*[=!]", block)
    }
    grouped = {label.strip() for block in re.findall(r"by \((.*?)\)", text) for label in block.split(",")}
    return selected | grouped


def test_every_metric_and_label_that_it_queries_exists(models: Path, tmp_path: Path):
    with started(models / "linear", tmp_path, runtime="uvicorn", drain_delay=0) as server:
        server.reach("/readyz", 200)
        assert server.ask("POST", "/invocations", BODY)[0] == 200
        assert server.ask("POST", "/invocations", "{}")[0] == 400
        scraped = server.ask("GET", "/metrics")[1]
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    assert queried() <= samples.keys()
    for text in expressions():
        known = ADDED_BY_PROMETHEUS.union(
            *(samples[name] for name in re.findall(r"\b(?:servegen|process)_\w+", text))
        )
        assert labels(text) <= known, text


def test_it_shows_everything_that_the_server_counts():
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in queried()}
    from tests.server.test_metrics import CONTRACT

    assert CONTRACT.keys() - shown == {"process_virtual_memory_bytes"}


def test_panels_lie_side_by_side():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid: dict[str, Any] = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(grid["x"], grid["x"] + grid["w"])
            for line in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
