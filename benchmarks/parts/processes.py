"""Two processes on one organization of one Postgres, against one process with as many clients."""

import statistics
from concurrent.futures import ThreadPoolExecutor

from benchmarks import cases, wrk
from benchmarks.comparing import WARM_UP, Subject, settled_count
from benchmarks.databases import POSTGRES
from benchmarks.figures import at_least, at_most
from benchmarks.options import CantMeasure
from benchmarks.servers import TOKEN, Server, ours
from benchmarks.stage import Stage
from benchmarks.wrk import Load, LoadScript

PART = "two processes"
_CLIENTS = 32
_ROUNDS = 3
_FAIR = 0.8  # the slower process has at least this share of what the faster one has


def measure(stage: Stage) -> None:
    """Rounds of one process with all clients, and of two processes with half of them each."""
    if stage.holder.kind != POSTGRES or not stage.wants(PART, "creates a second"):
        return
    stage.say("two processes")
    second = ours("second", stage.holder.url(stage.database), stage.folder)
    try:
        single, double = [], []
        for turn in range(min(_ROUNDS, stage.options.rounds)):
            single.append(_run(stage, [stage.server], 2 * turn + 1)[0])
            double.append(_run(stage, [stage.server, second], 2 * turn + 2))
    finally:
        second.stop()
    rate = statistics.median(load.rate for load in single)
    p99 = statistics.median(load.p99 for load in single)
    together = statistics.median(sum(load.rate for load in loads) for loads in double)
    slowest = statistics.median(max(load.p99 for load in loads) for loads in double)
    shares = [min(load.rate for load in loads) / max(load.rate for load in loads) for loads in double]
    stage.note(PART, "creates a second by one process", rate, "/s")
    stage.note(PART, "creates a second by two", together, "/s", at_least(round(rate)))
    stage.note(PART, "p99 with one process", p99, "ms")
    stage.note(PART, "p99 with two, of the slower one", slowest, "ms", at_most(round(1.5 * p99, 1)))
    stage.note(PART, "share of the slower one in the faster one", statistics.median(shares), "", at_least(_FAIR))


def _run(stage: Stage, servers: list[Server], turn: int) -> list[Load]:
    """Creates by all clients at once. Raises CantMeasure when not all that was acknowledged is stored."""
    create = cases.created(stage.folder, 2500)
    subject = Subject(stage.holder, stage.server, stage.database)
    before = subject.count(cases.COMPLETIONS)

    def load(number: int, seconds: int) -> Load:
        script: LoadScript = create(1000 * turn + 10 * seconds + number + stage.size)
        return wrk.run(servers[number].url, TOKEN, script, _CLIENTS // len(servers), seconds)

    with ThreadPoolExecutor(len(servers)) as threads:
        loads = []
        for seconds in (WARM_UP, stage.options.seconds):
            loads.append(list(threads.map(lambda number, seconds=seconds: load(number, seconds), range(len(servers)))))
    stored = settled_count(subject, cases.COMPLETIONS) - before
    acknowledged = sum(load.requests for run in loads for load in run)
    if not acknowledged <= stored <= acknowledged + 2 * _CLIENTS:
        raise CantMeasure(f"{acknowledged} creates were acknowledged by {len(servers)} processes, {stored} are stored.")
    return loads[-1]
