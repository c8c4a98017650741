"""Compares the servers of two instances by their own metrics; decisions only, nothing is asked here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from servegen.values.analysis import Counts, Limits, Verdict

QUANTILE = 0.95
_REFUSED = 400
"""As in MLflow, a model that raises is a 400 on `/invocations`; mistakes of clients hit both alike."""
_FLOOR_SECONDS = 0.010
"""A difference below this is noise of the buckets and of the network, whatever its ratio is."""


def counts(text: str) -> Counts:
    """The requests to the model in a server's metrics; ValueError for what is no such text.

    Only routes that are POSTed to: probes and scrapes are quick and never fail.
    """
    families = {one.name: one for one in text_string_to_metric_families(text)}
    if "servegen_requests" not in families:
        msg = "there is no servegen_requests"
        raise ValueError(msg)
    posted = [
        one
        for one in families["servegen_requests"].samples
        if one.name == "servegen_requests_total" and one.labels["method"] == "POST"
    ]
    routes = {one.labels["route"] for one in posted}
    durations = families.get("servegen_request_duration_seconds")
    buckets: dict[float, int] = defaultdict(int)
    for one in durations.samples if durations else ():
        if one.name.endswith("_bucket") and one.labels["route"] in routes:
            buckets[float(one.labels["le"])] += int(one.value)
    return Counts(
        requests=sum(int(one.value) for one in posted),
        errors=sum(int(one.value) for one in posted if int(one.labels["status"]) >= _REFUSED),
        buckets=tuple(sorted(buckets.items())),
    )


def since(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> Counts:
    """The requests between two looks at the pods of an instance, by name.

    A server that counts less than before has started again; what it counted until then is lost.
    """
    return _total(_less(now, before.get(pod)) for pod, now in after.items())


def quantile(found: Counts, share: float) -> float | None:
    """Seconds that `share` of the requests took at most, within a bucket by interpolation.

    None without requests; of those above the last bound no more is known than the bound.
    """
    total = found.buckets[-1][1] if found.buckets else 0
    if not total:
        return None
    low, below = 0.0, 0
    for bound, until in found.buckets:
        if until >= share * total:
            if bound == float("inf") or until == below:
                return low
            return low + (bound - low) * (share * total - below) / (until - below)
        low, below = bound, until
    return low


def judge(canary: Counts, stable: Counts, limits: Limits) -> Verdict:
    """Whether the canary does as well as the stable instance did meanwhile."""
    if canary.requests < limits.requests:
        needed = f"{canary.requests} requests to the canary, {limits.requests} are needed"
        return Verdict(good=None, reason=f"not enough traffic: {needed}")
    rate, usual = _rate(canary), _rate(stable)
    # Of few requests more may fail by chance where some always do: two standard errors.
    chance = 2 * math.sqrt(usual * (1 - usual) / canary.requests)
    if rate > usual + limits.error_rate + chance:
        failed = f"{rate:.1%} of {canary.requests} requests to the canary failed"
        return Verdict(good=False, reason=f"{failed}, {usual:.1%} of those to the stable")
    took, usually = quantile(canary, QUANTILE), quantile(stable, QUANTILE)
    # A stable instance with a handful of requests has no percentile worth comparing with.
    if took is None or usually is None or stable.requests < limits.requests:
        return Verdict(
            good=True, reason=f"{rate:.1%} of {canary.requests} requests failed; no latency to compare"
        )
    slow = f"p95 {took * 1000:.0f} ms against {usually * 1000:.0f} ms"
    if took > limits.slowdown * usually and took - usually > _FLOOR_SECONDS:
        return Verdict(
            good=False, reason=f"the canary is slower than {limits.slowdown:g} times the stable: {slow}"
        )
    return Verdict(good=True, reason=f"{rate:.1%} of {canary.requests} requests failed, {slow}")


def _rate(found: Counts) -> float:
    return found.errors / found.requests if found.requests else 0.0


def _less(now: Counts, before: Counts | None) -> Counts:
    if before is None or now.requests < before.requests:
        return now
    earlier = dict(before.buckets)
    return Counts(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        buckets=tuple((bound, until - earlier.get(bound, 0)) for bound, until in now.buckets),
    )


def _total(found: Iterable[Counts]) -> Counts:
    requests = errors = 0
    buckets: dict[float, int] = defaultdict(int)
    for one in found:
        requests, errors = requests + one.requests, errors + one.errors
        for bound, until in one.buckets:
            buckets[bound] += until
    return Counts(requests=requests, errors=errors, buckets=tuple(sorted(buckets.items())))
