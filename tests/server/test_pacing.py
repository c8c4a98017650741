import pytest

from servegen.server.pacing import Pacer


def learned(fixed: float, per_row: float, sizes: tuple[int, ...] = (1, 8, 2, 16, 4)) -> Pacer:
    pacer = Pacer(max_wait=0.002)
    for _ in range(20):
        for rows in sizes:
            pacer.called(rows, fixed + per_row * rows)
    return pacer


def test_the_fixed_cost_of_a_call_is_told_from_that_of_its_rows():
    assert learned(0.003, 0.0001).fixed_cost == pytest.approx(0.003)
    assert learned(0.0, 0.001).fixed_cost == pytest.approx(0.0, abs=1e-9)
    assert learned(0.001, 0.0).fixed_cost == pytest.approx(0.001)


def test_calls_of_one_size_count_as_fixed_whole():
    assert learned(0.001, 0.0005, sizes=(4,)).fixed_cost == pytest.approx(0.003)


def test_an_unknown_model_is_not_waited_for():
    assert Pacer(max_wait=0.002).pause() == 0
    assert Pacer(max_wait=0.002).row_cost == 0


def test_no_pause_is_longer_than_merging_saves_or_the_limit_allows():
    assert learned(0.0005, 0.0001).pause() == pytest.approx(0.0005)
    assert learned(0.5, 0.0001).pause() == 0.002
    assert learned(0.0, 0.001).pause() == pytest.approx(0.0, abs=1e-9)


def test_a_lone_client_is_complete_at_once():
    pacer = learned(0.003, 0.0001)
    pacer.answered(present=1)
    assert pacer.is_complete(1)
    pacer.answered(present=8)
    assert not pacer.is_complete(7)
    assert pacer.is_complete(8)


def test_waits_that_gain_nothing_end_and_are_tried_again_later():
    pacer = learned(0.001, 0.0001)
    for _ in range(3):
        assert pacer.pause() > 0
        pacer.waited(gained=False)
    pauses = []
    for _ in range(40):
        pauses.append(pacer.pause())
        if pauses[-1]:
            pacer.waited(gained=False)
    assert 1 <= sum(pause > 0 for pause in pauses) <= 2
    while not pacer.pause():
        pass
    for _ in range(3):
        pacer.waited(gained=True)
    assert pacer.pause() > 0
