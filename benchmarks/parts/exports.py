"""Exports: their rate, their first byte, and the memory of the server."""

from benchmarks import history
from benchmarks.figures import FLAT, STEADY, at_most
from benchmarks.options import CantMeasure
from benchmarks.stage import Stage

PART = "export"
MAX_MB = 400
_FIRST_BYTE_MS = at_most(300)


def measure(stage: Stage) -> None:
    """A whole export, and training exports of a task with little and with much feedback."""
    if stage.wants(PART, "everything"):
        stage.say("export")
        stage.server.reset_peak()
        client = stage.client()
        answer = client.streamed("/api/v1/export")
        client.close()
        if answer.bytes < stage.size * stage.options.bytes // 2:
            raise CantMeasure(f"The export of {stage.size} completions has only {answer.bytes} bytes.")
        rate, peak = answer.bytes / 1e6 / answer.seconds, stage.server.peak()
        stage.note(PART, "everything, rate", rate, "MB/s", STEADY, f"{answer.bytes / 1e6:.0f} MB")
        stage.note(PART, "everything, first byte", answer.first_byte_seconds * 1000, "ms", _FIRST_BYTE_MS)
        stage.note(PART, "everything, memory of the server", peak, "MB", at_most(MAX_MB))
    tasks = {"of a task with 3 feedback": history.RARE_TASK, "of a task with much": f"task-{history.GRADED_USER}"}
    for name, task_id in tasks.items():
        if stage.wants(PART, f"training {name}"):
            stage.say(f"training export {name}")
            _training(stage, name, task_id)


def _training(stage: Stage, name: str, task_id: str) -> None:
    client = stage.client()
    answers = [client.streamed(f"/api/v1/export/training?task_id={task_id}") for _ in range(3)]
    client.close()
    best = min(answers, key=lambda answer: answer.seconds)
    if task_id == history.RARE_TASK:
        stage.note(PART, f"training {name}", best.seconds * 1000, "ms", FLAT, f"{best.bytes} bytes")
    else:
        rate = best.bytes / 1e6 / best.seconds
        stage.note(PART, f"training {name}, rate", rate, "MB/s", STEADY, f"{best.bytes / 1e6:.1f} MB")
        stage.note(PART, f"training {name}, first byte", best.first_byte_seconds * 1000, "ms", _FIRST_BYTE_MS)
