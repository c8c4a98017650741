"""A canary against what serves, by the metrics of both."""

from dataclasses import replace

import pytest

from servegen.kube.analysis import counts, judge, quantile, since
from servegen.server.metrics import Metrics
from servegen.values.analysis import Counts, Limits
from tests.server.asgi import TOY, model_file

LIMITS = Limits(error_rate=0.01, slowdown=1.5, requests=50)


def traffic(requests: int, *, errors: int = 0, seconds: float = 0.05) -> Counts:
    """All requests took about `seconds`."""
    bounds = (seconds / 2, seconds, seconds * 2, float("inf"))
    return Counts(
        requests=requests,
        errors=errors,
        buckets=tuple((bound, requests if bound >= seconds else 0) for bound in bounds),
    )


def test_a_canary_that_does_as_well_is_good():
    assert judge(traffic(100), traffic(900), LIMITS).good is True


def test_a_canary_that_fails_more_often_is_bad_and_both_rates_are_named():
    verdict = judge(traffic(100, errors=5), traffic(900, errors=9), LIMITS)
    assert verdict.good is False
    assert verdict.reason == "5.0% of 100 requests to the canary failed, 1.0% of those to the stable"


def test_errors_that_the_stable_has_as_well_are_not_the_canarys():
    assert judge(traffic(100, errors=5), traffic(900, errors=45), LIMITS).good is True


def test_an_error_more_by_chance_is_forgiven_where_the_stable_has_some():
    usual = traffic(900, errors=45)
    assert judge(traffic(50, errors=5), usual, LIMITS).good is True
    assert judge(traffic(50, errors=7), usual, LIMITS).good is False


def test_a_slow_canary_is_bad():
    verdict = judge(traffic(100, seconds=0.2), traffic(900, seconds=0.05), LIMITS)
    assert verdict.good is False
    assert "slower than 1.5 times the stable" in verdict.reason


def test_a_few_milliseconds_are_no_slowdown_whatever_their_ratio():
    assert judge(traffic(100, seconds=0.004), traffic(900, seconds=0.001), LIMITS).good is True


@pytest.mark.parametrize("errors", [0, 49])
def test_few_requests_tell_nothing(errors):
    verdict = judge(traffic(49, errors=errors), traffic(900), LIMITS)
    assert verdict.good is None
    assert verdict.reason == "not enough traffic: 49 requests to the canary, 50 are needed"


def test_without_traffic_of_the_stable_only_errors_count():
    assert judge(traffic(100, seconds=9), traffic(0), LIMITS).good is True
    assert judge(traffic(100, errors=2), traffic(0), LIMITS).good is False


def test_only_what_happened_meanwhile_counts():
    before = {"a": traffic(1000, errors=500), "gone": traffic(70)}
    after = {"a": replace(traffic(1100), errors=500), "new": traffic(20, errors=1)}
    found = since(before, after)
    assert (found.requests, found.errors) == (120, 1)
    assert found.buckets[-1][1] == 120


def test_a_server_that_started_again_counts_from_zero():
    assert since({"a": traffic(1000)}, {"a": traffic(30)}).requests == 30


def test_a_percentile_lies_within_its_bucket():
    found = Counts(requests=100, buckets=((0.1, 90), (0.2, 100), (float("inf"), 100)))
    assert quantile(found, 0.95) == pytest.approx(0.15)
    beyond = Counts(requests=100, buckets=((0.1, 10), (float("inf"), 100)))
    assert quantile(beyond, 0.95) == 0.1
    assert quantile(Counts(), 0.95) is None


def test_probes_are_no_traffic():
    server_metrics = Metrics(model_file(TOY), queue_limit=1)
    for _ in range(40):
        server_metrics.answered("/readyz", "GET", 503, 0.0001)
    for status in (200, 200, 400, 500):
        server_metrics.answered("/invocations", "POST", status, 0.03)
    found = counts(server_metrics.render().decode())
    # 400 is what `/invocations` answers for a model that raises.
    assert (found.requests, found.errors) == (4, 2)
    assert dict(found.buckets)[0.025] == 0
    assert dict(found.buckets)[0.05] == 4


def test_what_is_no_text_of_metrics_is_refused():
    with pytest.raises(ValueError, match="servegen_requests"):
        counts("# nothing here\n")
