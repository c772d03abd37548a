"""Creates by 32, 8 and one client against the limit, and what they write to disk, in a database with a history."""

from benchmarks import cases
from benchmarks.comparing import Comparison, Subject, written_row
from benchmarks.figures import at_least, at_most
from benchmarks.rows import Row
from benchmarks.servers import limit
from benchmarks.stage import Stage

PART = "creates"
_WRITTEN = "written to disk for a completion of 2.5 KB"
_ROUNDS = 3


def measure(stage: Stage) -> None:
    """The same rows as in `make bench`, with the goals for a long history at the largest size."""
    lists = stage.folder / "no-lists.json"
    lists.write_text("{}")
    bare = limit(lists, stage.folder)
    try:
        subject = Subject(stage.holder, stage.server, stage.database)
        comparison = Comparison(bare, [subject], min(_ROUNDS, stage.options.rounds), stage.options.seconds)
        single, *others = cases.creates(stage.folder, at_a_million=stage.is_last)
        if stage.wants(PART, single.name) or stage.wants(PART, _WRITTEN):
            stage.say(single.name)
            for row in comparison.throughput(single):
                _note_share(stage, row)
                written = written_row(row)
                if written.ours is not None:
                    goal = None if written.goal is None else at_most(written.goal)
                    stage.note(PART, _WRITTEN, written.ours, "KB", goal, written.note)
        for case in others:
            if stage.wants(PART, case.name):
                stage.say(case.name)
                for row in comparison.throughput(case):
                    _note_share(stage, row)
        alone = cases.one_client(stage.folder)
        if stage.wants(PART, alone.name):
            stage.say(alone.name)
            for row in comparison.one_client(alone):
                goal = at_most(round(row.goal or 0, 2))
                note = f"the bare endpoint takes {row.limit:.2f} ms; {row.note}"
                stage.note(PART, alone.name, row.ours or float("inf"), "ms", goal, note)
    finally:
        bare.stop()


def _note_share(stage: Stage, row: Row) -> None:
    note = f"{row.ours:.0f} of {row.limit:.0f} a second, p99 {row.p99_ms:.1f} ms, {row.written_kb or 0:.1f} KB written each"
    goal = None if row.goal is None else at_least(row.goal)
    stage.note(PART, f"{row.name}, share of the limit", row.ratio or 0.0, "", goal, note)
