"""The program that runs in a validation process: it checks schemas and validates values, one job after the other.

It reads jobs from its standard input, and writes the errors of each job to its standard output. Both are in frames:
four bytes with the length, and then that many bytes. Its first frame is empty and means that it is ready. An alarm ends
the process when a job takes too long. It also ends when its input ends, so that no process is left when the server is
killed.
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
ALL_CORES = "LOG10_VALIDATION_CORES"  # an environment variable with the cores that the server had when it started
LENGTH = struct.Struct(">I")

# Values may nest 200 levels deep, and a recursive schema takes some twenty Python calls for each level. A Python call
# takes less than 1 KiB of the thread's stack.
_MAX_CALLS = 25_000
_STACK_BYTES = 128 << 20
_MAX_CACHED, _MAX_CACHED_BYTES = 64, 8 << 20


def message(kind: bytes, schema_text: str, values_text: str = "") -> bytes:
    """The bytes of a job: its kind, the length of the schema, the schema, the values."""
    schema = schema_text.encode("utf-8", "surrogatepass")
    return b"".join((kind, LENGTH.pack(len(schema)), schema, values_text.encode("utf-8", "surrogatepass")))


def decode_errors(answer: bytes) -> list[FieldError]:
    """Decode the errors that a process has answered."""
    return [FieldError(path, text) for path, text in json.loads(answer)]


def main(budget_seconds: float, memory_bytes: int) -> None:
    """Serve jobs until the input ends."""
    answers = _take_stdout()
    _limit_itself(memory_bytes)
    threading.stack_size(_STACK_BYTES)
    sys.setrecursionlimit(_MAX_CALLS)
    # In a thread, because only a new thread can have a stack of that size.
    thread = threading.Thread(target=_serve, args=(sys.stdin.buffer, answers, budget_seconds))
    thread.start()
    thread.join()


def _take_stdout() -> BinaryIO:
    """Standard output, for answers only. What a library prints goes to /dev/null from now on."""
    answers = os.fdopen(os.dup(1), "wb")
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    return answers


def _limit_itself(memory_bytes: int) -> None:
    """Ignore the signals that are meant for the server, and take a low priority and a bounded amount of memory."""
    if sys.platform == "linux" and ALL_CORES in os.environ:  # the process has inherited the server's one core
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, map(int, os.environ[ALL_CORES].split(",")))
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # because the server ends this process itself
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with contextlib.suppress(AttributeError, OSError):  # not every system has these
        os.nice(5)
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _STACK_BYTES,) * 2)


def _serve(jobs: BinaryIO, answers: BinaryIO, budget_seconds: float) -> None:
    schemas = _Schemas()
    check("{}")  # reads the meta-schema now, so that the first job does not have to
    _send(answers, b"")
    while len(head := jobs.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        job = jobs.read(length)
        if len(job) < length:
            return
        _alarm(budget_seconds)
        is_out_of_memory = False
        try:
            field_errors = _errors_of(job, schemas)
        except MemoryError:
            is_out_of_memory = True
        if is_out_of_memory:  # not inside `except`, because the traceback there keeps the memory in use
            schemas = _Schemas()
            field_errors = [FieldError(_path(job), "Validation takes more memory than the limit.")]
        _alarm(0)
        _send(answers, json.dumps(field_errors).encode())
        if is_out_of_memory:
            return  # the server starts a new process, in which no memory is in use yet


def _errors_of(job: bytes, schemas: "_Schemas") -> list[FieldError]:
    start = 1 + LENGTH.size
    end = start + LENGTH.unpack_from(job, 1)[0]
    try:
        if job[:1] == CHECK:
            check(str(job[start:end], "utf-8", "surrogatepass"))
            return []
        return schemas.get(job[start:end]).field_errors(str(memoryview(job)[end:], "utf-8", "surrogatepass"))
    except Invalid as refusal:
        return refusal.field_errors
    except Refusal as refusal:
        return [FieldError(_path(job), refusal.detail)]


def _path(job: bytes) -> str:
    return SCHEMA if job[:1] == CHECK else VALUES


class _Schemas:
    """A cache of the compiled schemas that were used last, by their text."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[bytes, Schema] = OrderedDict()
        self._bytes = 0

    def get(self, text: bytes) -> Schema:
        """The compiled schema of this text. Raises Invalid if the text is not a schema."""
        schema = self._schemas.get(text)
        if schema is not None:
            self._schemas.move_to_end(text)
            return schema
        schema = self._schemas[text] = compiled(str(text, "utf-8", "surrogatepass"))
        self._bytes += len(text)
        while len(self._schemas) > 1 and (len(self._schemas) > _MAX_CACHED or self._bytes > _MAX_CACHED_BYTES):
            oldest, _ = self._schemas.popitem(last=False)
            self._bytes -= len(oldest)
        return schema


def _alarm(seconds: float) -> None:
    """Let the operating system kill this process after `seconds`, whatever it is doing. 0 cancels the alarm."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _send(answers: BinaryIO, frame: bytes) -> None:
    answers.write(LENGTH.pack(len(frame)) + frame)
    answers.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
