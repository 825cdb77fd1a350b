"""Trials within groups: how many are due, and that they find a structure of high symmetry without P1."""

import pytest

from credo.solve.group_search import GroupTrials
from credo.solve.normalise import normalise
from credo.solve.space_group import likely_by_absences


@pytest.mark.parametrize(
    ("laue", "d_min", "due"),
    [("2/m", 0.8, (0, 20)), ("2/m", 1.2, (10, 30)), ("mmm", 0.8, (7, 27)), ("m-3m", 1.2, (30, 60))],
)
def test_trials_in_groups_by_symmetry_by_data_and_when_p1_has_failed(laue, d_min, due, chain, garnet, intensities):
    s, centring = (garnet, "I") if laue == "m-3m" else (chain("P b c a"), "P")
    trials = GroupTrials(normalise(s.cell, centring, laue, *intensities(s, d_min)), laue, centring, 30)
    assert (trials.due(10), trials.due(20)) == due


def test_the_group_that_leads_gets_most_trials(garnet, intensities):
    """Nothing is known from P1: absences name the group, random starts in it explain |E|. What was done is not due."""
    data = normalise(garnet.cell, "I", "m-3m", *intensities(garnet, 1.0))
    leader = likely_by_absences(data, "m-3m", "I")[0]
    trials = GroupTrials(data, "m-3m", "I", 80)
    found = trials.round(4, [], leader, seed=1)
    assert trials.due(4) == 0 and trials.round(4, [], leader, seed=1) == []
    best = min(found, key=lambda c: c.score)
    assert best.fit.symbol == leader.symbol == "I a -3 d" and best.cc_e > 0.8
