import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from servegen.server import dialects, procfs
from servegen.server.metrics import Metrics
from servegen.server.settings import METRICS_COMPAT
from tests.server.asgi import model_file

# HTTP.md §10, and `servegen_workers_stuck`: name → type, labels.
CONTRACT = {
    "servegen_requests": ("counter", {"route", "method", "status"}),
    "servegen_request_duration_seconds": ("histogram", {"route"}),
    "servegen_requests_in_flight": ("gauge", set()),
    "servegen_queue_depth": ("gauge", set()),
    "servegen_queue_limit": ("gauge", set()),
    "servegen_workers_stuck": ("gauge", set()),
    "servegen_queue_wait_seconds": ("histogram", set()),
    "servegen_predict_duration_seconds": ("histogram", set()),
    "servegen_batch_rows": ("histogram", set()),
    "servegen_batch_requests": ("histogram", set()),
    "servegen_rejected": ("counter", {"reason"}),
    "servegen_errors": ("counter", {"error_code"}),
    "servegen_model_ready": ("gauge", set()),
    "servegen_model_load_seconds": ("gauge", set()),
    "servegen_model_info": ("gauge", {"name", "version", "run_id", "flavor", "mlflow_version"}),
    "process_cpu_seconds": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
    "process_open_fds": ("gauge", set()),
    "process_max_fds": ("gauge", set()),
}


def used(dialects: tuple[str, ...] = ()) -> Metrics:
    """Metrics after three predictions, one of them bad, and a probe."""
    metrics = Metrics(model_file(), queue_limit=7, dialects=dialects)
    metrics.observe_queue(depth=lambda: 2, in_flight=lambda: 3, stuck=lambda: 1)
    metrics.answered("/invocations", "POST", 200, 0.004)
    metrics.answered("/v2/models/{model}/infer", "POST", 200, 0.02)
    metrics.answered("/invocations", "POST", 400, 0.0005)
    metrics.answered("/ping", "GET", 200, 0.0001)
    metrics.failed("BAD_REQUEST")
    metrics.rejected("deadline")
    metrics.batch(rows=33, requests=2)
    metrics.queue_wait.observe(0.001)
    metrics.predict_duration.observe(100.0)
    return metrics


def scraped(metrics: Metrics) -> dict[str, Any]:
    return {f.name: f for f in text_string_to_metric_families(metrics.render().decode())}


def value(families: dict[str, Any], family: str, sample: str, **labels: str) -> float:
    found = [
        s.value for s in families[family].samples if s.name == sample and labels.items() <= s.labels.items()
    ]
    assert len(found) == 1, (family, sample, labels)
    return float(found[0])


def test_the_metrics_of_the_contract_are_there_and_no_others():
    families = scraped(used())
    shown = {}
    for name, family in families.items():
        labels = {label for s in family.samples for label in s.labels if label != "le"}
        shown[name] = (family.type, labels)
    assert shown == CONTRACT


def test_counts_and_durations_come_from_the_same_requests():
    families = scraped(used())
    total = {"route": "/invocations", "method": "POST"}
    assert value(families, "servegen_requests", "servegen_requests_total", status="200", **total) == 1
    assert value(families, "servegen_requests", "servegen_requests_total", status="400", **total) == 1
    name = "servegen_request_duration_seconds"
    assert value(families, name, f"{name}_count", route="/invocations") == 2
    assert value(families, name, f"{name}_sum", route="/invocations") == pytest.approx(0.0045)
    assert value(families, name, f"{name}_bucket", route="/invocations", le="0.001") == 1
    assert value(families, name, f"{name}_bucket", route="/invocations", le="0.005") == 2


def test_a_bucket_holds_its_own_bound_and_the_last_one_everything():
    families = scraped(used())
    name = "servegen_queue_wait_seconds"
    assert value(families, name, f"{name}_bucket", le="0.001") == 1
    name = "servegen_predict_duration_seconds"
    assert value(families, name, f"{name}_bucket", le="60.0") == 0
    assert value(families, name, f"{name}_bucket", le="+Inf") == 1
    name = "servegen_batch_rows"
    assert value(families, name, f"{name}_bucket", le="32.0") == 0
    assert value(families, name, f"{name}_bucket", le="64.0") == 1


def test_the_queue_is_read_when_it_is_scraped():
    families = scraped(used())
    assert value(families, "servegen_queue_depth", "servegen_queue_depth") == 2
    assert value(families, "servegen_requests_in_flight", "servegen_requests_in_flight") == 3
    assert value(families, "servegen_queue_limit", "servegen_queue_limit") == 7
    assert value(families, "servegen_workers_stuck", "servegen_workers_stuck") == 1


def test_a_reason_that_did_not_occur_is_zero_and_not_absent():
    families = scraped(used())
    rejected = {s.labels["reason"]: s.value for s in families["servegen_rejected"].samples}
    assert rejected == {"queue_full": 0, "draining": 0, "too_large": 0, "deadline": 1}


def test_the_names_of_other_servers_are_those_of_the_setting():
    assert set(dialects.NAMES) == set(METRICS_COMPAT)


def test_a_dashboard_for_kserve_finds_its_histogram():
    families = scraped(used(("kserve",)))
    name = "request_predict_seconds"
    assert value(families, name, f"{name}_count", model_name="toy") == 3
    assert value(families, name, f"{name}_bucket", model_name="toy", le="0.005") == 2
    assert value(families, name, f"{name}_bucket", model_name="toy", le="+Inf") == 3
    assert families.keys() - CONTRACT.keys() == {name}


def test_a_dashboard_for_mlserver_finds_its_names():
    families = scraped(used(("mlserver",)))
    model = {"model": "toy", "version": "1"}
    success, failure = "model_infer_request_success", "model_infer_request_failure"
    assert value(families, success, f"{success}_total", **model) == 2
    assert value(families, failure, f"{failure}_total", **model) == 1
    name = "model_infer_request_duration"
    assert families[name].type == "summary"
    assert value(families, name, f"{name}_count", **model) == 3
    assert value(families, name, f"{name}_sum", **model) == pytest.approx(0.0245)
    rest = {"app_name": "mlserver", "method": "POST", "path": "/invocations", "status_code": "400"}
    assert value(families, "rest_server_requests", "rest_server_requests_total", **rest) == 1
    name = "rest_server_request_duration_seconds"
    assert value(families, name, f"{name}_count", **rest) == 1
    name = "rest_server_requests_in_progress"
    assert value(families, name, name, app_name="mlserver", method="POST") == 3


def test_a_dashboard_for_bentoml_finds_its_names():
    families = scraped(used(("bentoml",)))
    service = {"service_name": "toy", "service_version": "1", "runner_name": "toy"}
    asked = {"endpoint": "/invocations", "http_response_code": "200"} | service
    name = "bentoml_service_request"
    assert value(families, name, f"{name}_total", **asked) == 1
    name = "bentoml_service_request_duration_seconds"
    assert value(families, name, f"{name}_bucket", le="0.005", **asked) == 1
    name = "bentoml_service_request_in_progress"
    assert value(families, name, name, **service) == 3
    name = "bentoml_service_adaptive_batch_size"
    assert value(families, name, f"{name}_sum", **service) == 33


def test_other_names_show_predictions_and_no_probes():
    text = used(METRICS_COMPAT).render().decode()
    assert [line for line in text.splitlines() if "/ping" in line and not line.startswith("servegen_")] == []


def test_a_server_that_was_not_asked_yet_can_be_scraped():
    families = scraped(Metrics(model_file(), queue_limit=1))
    assert families["servegen_requests"].samples == []
    assert families["request_predict_seconds"].samples == []


def test_the_processes_of_workers_are_summed():
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        metrics = used()
        alone = scraped(metrics)
        metrics.observe_workers(lambda: [child.pid])
        both = scraped(metrics)
        name = "process_resident_memory_bytes"
        assert value(both, name, name) > value(alone, name, name) + 2**20
        name = "process_start_time_seconds"
        assert value(both, name, name) == value(alone, name, name)
        child.communicate(b"\n")


def fake_proc(root: Path, **cpu: str) -> Path:
    (root / "self" / "fd").mkdir(parents=True)
    (root / "self" / "fd" / "0").touch()
    (root / "stat").write_text("cpu 1 2\nbtime 1000\n")
    for pid, times in cpu.items():
        (root / pid.strip("_")).mkdir(exist_ok=True)
        # The name of a process may look like anything.
        (root / pid.strip("_") / "stat").write_text(
            f"9 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 500 4096 3 0\n"
        )
    return root


def sums(root: Path, *workers: int) -> dict[str, float]:
    return {f.name: f.samples[0].value for f in procfs.collect(workers, root)}


def test_cpu_time_counts_workers_and_those_that_have_ended(tmp_path: Path):
    tick = os.sysconf("SC_CLK_TCK")
    found = sums(fake_proc(tmp_path, self="100 20 30 4", _7="1000 200 9 9"), 7, 8)
    # Own, ended children and worker 7; a child of the worker is not ours, 8 is gone.
    assert found["process_cpu_seconds"] == pytest.approx(1354 / tick)
    assert found["process_start_time_seconds"] == pytest.approx(1000 + 500 / tick)
    assert found["process_resident_memory_bytes"] == 6 * os.sysconf("SC_PAGE_SIZE")
    assert found["process_virtual_memory_bytes"] == 8192
    assert found["process_open_fds"] == 1


def test_where_there_is_no_proc_the_rest_is_shown(tmp_path: Path):
    assert sums(tmp_path) == {}
