"""The process that checks schemas and validates values for `validators`, one job after the other.

Jobs come in by its standard input and faults go out by its standard output, each in a frame: four bytes of length,
then that many bytes. The first frame that it sends is empty and says that it is ready. An alarm ends it when a job
takes too long. It ends when its input does, too, so none is left when the server is killed.
"""

import contextlib
import json
import os
import signal
import struct
import sys
import threading
from collections import OrderedDict
from typing import BinaryIO

from log10_server.errors import FieldError, Invalid, Refusal
from log10_server.validation.json_schemas import SCHEMA, VALUES, Schema, check, compiled

CHECK, VALIDATE = b"c", b"v"
ALL_CORES = "LOG10_VALIDATION_CORES"  # the variable that says which cores the server was given
LENGTH = struct.Struct(">I")

# Values nest 200 deep, and a recursive schema takes some twenty calls for each level. A level of Python's stack takes
# less than 1 KiB of the thread's.
_DEPTH = 25_000
_STACK_BYTES = 128 << 20
_CACHED, _CACHED_BYTES = 64, 8 << 20


def message(kind: bytes, schema_text: str, values_text: str = "") -> bytes:
    """A job, as a frame has it."""
    schema = schema_text.encode("utf-8", "surrogatepass")
    return b"".join((kind, LENGTH.pack(len(schema)), schema, values_text.encode("utf-8", "surrogatepass")))


def faults_in(answer: bytes) -> list[FieldError]:
    return [FieldError(path, said) for path, said in json.loads(answer)]


def main(budget_seconds: float, memory_bytes: int) -> None:
    answers = _claim_output()
    _step_back(memory_bytes)
    threading.stack_size(_STACK_BYTES)
    sys.setrecursionlimit(_DEPTH)
    # In a thread, since only a new one can have a stack of that size.
    thread = threading.Thread(target=_serve, args=(sys.stdin.buffer, answers, budget_seconds))
    thread.start()
    thread.join()


def _claim_output() -> BinaryIO:
    """Standard output for answers only; what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _step_back(memory_bytes: int) -> None:
    """Leave signals to the parent, and the machine to others."""
    if sys.platform == "linux" and ALL_CORES in os.environ:  # the server itself keeps to one of them
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, map(int, os.environ[ALL_CORES].split(",")))
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # sent to all processes of the server; the parent closes this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with contextlib.suppress(AttributeError, OSError):  # systems without them
        os.nice(5)
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _STACK_BYTES,) * 2)


def _serve(jobs: BinaryIO, answers: BinaryIO, budget_seconds: float) -> None:
    schemas = _Schemas()
    check("{}")  # the first check reads the meta-schema: not on a job's time
    _send(answers, b"")
    while len(head := jobs.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        job = jobs.read(length)
        if len(job) < length:
            return
        _alarm(budget_seconds)
        exhausted = False
        try:
            faults = _faults(job, schemas)
        except MemoryError:
            exhausted = True
        if exhausted:  # outside of `except`, whose traceback holds what took the memory
            schemas = _Schemas()
            faults = [FieldError(_at(job), "Validating takes more memory than it may.")]
        _alarm(0)
        _send(answers, json.dumps(faults).encode())
        if exhausted:
            return  # and a new process begins with all its memory


def _faults(job: bytes, schemas: "_Schemas") -> list[FieldError]:
    start = 1 + LENGTH.size
    end = start + LENGTH.unpack_from(job, 1)[0]
    try:
        if job[:1] == CHECK:
            check(str(job[start:end], "utf-8", "surrogatepass"))
            return []
        return schemas.get(job[start:end]).faults(str(memoryview(job)[end:], "utf-8", "surrogatepass"))
    except Invalid as refusal:
        return refusal.faults
    except Refusal as refusal:
        return [FieldError(_at(job), refusal.detail)]


def _at(job: bytes) -> str:
    return SCHEMA if job[:1] == CHECK else VALUES


class _Schemas:
    """The schemas used last, compiled, by their text."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Schema] = OrderedDict()
        self._bytes = 0

    def get(self, text: bytes) -> Schema:
        schema = self._kept.get(text)
        if schema is not None:
            self._kept.move_to_end(text)
            return schema
        schema = self._kept[text] = compiled(str(text, "utf-8", "surrogatepass"))
        self._bytes += len(text)
        while len(self._kept) > 1 and (len(self._kept) > _CACHED or self._bytes > _CACHED_BYTES):
            oldest, _ = self._kept.popitem(last=False)
            self._bytes -= len(oldest)
        return schema


def _alarm(seconds: float) -> None:
    """Let the system end this process after `seconds`, whatever it is doing then; 0: not at all."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _send(answers: BinaryIO, frame: bytes) -> None:
    answers.write(LENGTH.pack(len(frame)) + frame)
    answers.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
