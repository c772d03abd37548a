"""The calls of one organization while another one does what it can, and the memory of the server during and after it."""

import time

from benchmarks.crowds import Answers, Crowd
from benchmarks.figures import at_most
from benchmarks.options import CantMeasure
from benchmarks.parts.exports import MAX_MB
from benchmarks.scenarios import Scenario, probes, scenarios
from benchmarks.stage import Stage

PART = "fairness"
_SECONDS = 10.0
_RECOVERS_WITHIN = 60.0
_IDLE_WITHIN = 300.0
_P99_MS = at_most(250)
_NONE = at_most(0)
_MEMORY_FACTOR = at_most(1.5)


def measure(stage: Stage) -> None:
    """Each scenario that was chosen. One that can't be set up is noted as such, and the next one is measured."""
    for scenario in scenarios():
        if stage.wants(PART, scenario.name):
            stage.say(scenario.name)
            try:
                _measure(stage, scenario)
            except CantMeasure as error:
                stage.note(PART, f"{scenario.name}: failed", 1, "", _NONE, str(error).partition("\n")[0][:200])


def _measure(stage: Stage, scenario: Scenario) -> None:
    client = stage.client()
    crowd = scenario.crowd(client)
    client.close()
    before = stage.server.resident()
    stage.server.reset_peak()
    with Crowd(stage.server.url, crowd) as attacking:
        time.sleep(1)
        with Crowd(stage.server.url, [*probes(), *scenario.probes]) as probing:
            time.sleep(_SECONDS)
    peak = stage.server.peak()
    after, seconds = _memory_after(stage, 1.5 * before)
    for name, answers in probing.results.items():
        stage.note(PART, f"{scenario.name}: {name}, p99", _p99(answers), "ms", _P99_MS, _described(answers))
    refused = sum(answers.bad for answers in probing.results.values())
    stage.note(PART, f"{scenario.name}: calls that were not answered 2xx", refused, "", _NONE)
    crowds = "; ".join(f"{name}: {answers}" for name, answers in attacking.results.items())
    stage.note(PART, f"{scenario.name}: memory", peak, "MB", at_most(MAX_MB), crowds)
    note = f"{before:.0f} MB before, {after:.0f} MB {seconds:.0f} s after"
    stage.note(PART, f"{scenario.name}: memory after it, of before", after / before, "", _MEMORY_FACTOR, note)
    stage.server.wait_until_idle(_IDLE_WITHIN)


def _memory_after(stage: Stage, enough: float) -> tuple[float, float]:
    """The memory once it is low enough, or a minute after the load, and how many seconds after the load that is."""
    began = time.monotonic()
    while (resident := stage.server.resident()) > enough and time.monotonic() < began + _RECOVERS_WITHIN:
        time.sleep(1)
    return resident, time.monotonic() - began


def _p99(answers: Answers) -> float:
    return answers.p99 if answers.good else float("inf")


def _described(answers: Answers) -> str:
    return f"p50 {answers.p50:.1f} ms, slowest {answers.max:.0f} ms; {answers}"
