"""Kills the server, or all of Postgres, under load, and checks that everything that was acknowledged is stored."""

import time
from pathlib import Path

from benchmarks import bodies, wrk
from benchmarks.databases import POSTGRES, Holder, PrivatePostgres
from benchmarks.options import CantMeasure
from benchmarks.servers import TOKEN, ours
from benchmarks.wrk import LoadScript

NAME = "killed"
_SECONDS = 4
_KILLED_AFTER = 2.0


def ways(kind: str) -> list[tuple[str, bool]]:
    """The rows there are for a kind of database: the name, and whether the database itself is killed."""
    server = [("killed: the server", False)]
    return [*server, ("killed: all of Postgres", True)] if kind == POSTGRES else server


def survived(holder: Holder, folder: Path, kill_database: bool) -> int:
    """How many completions were acknowledged before the end. Raises CantMeasure when one of them is not stored."""
    values = (bodies.marked_completion(2500, number) for number in range(100))
    lines = bodies.write_lines(folder / "killed.jsonl", values)
    noted = folder / "noted.txt"
    prefix = f"run-{time.time_ns()}-"
    server = ours(f"killed-{holder.kind}", holder.url(NAME), folder)
    try:
        load_script = LoadScript("noted.lua", ("/api/v1/completions/", str(lines), str(noted), prefix))
        with wrk.start(server.url, TOKEN, load_script, 32, _SECONDS) as load:
            time.sleep(_KILLED_AFTER)
            if kill_database and isinstance(holder, PrivatePostgres):
                holder.kill()
            else:
                server.kill()
            load.communicate()
    finally:
        server.kill()
    if kill_database and isinstance(holder, PrivatePostgres):
        holder.start_again()
    again = ours(f"again-{holder.kind}", holder.url(NAME), folder)
    try:
        acknowledged = set(noted.read_text().split())
        stored = holder.texts(NAME, f"SELECT id FROM completion WHERE id LIKE '{prefix}%'")
    finally:
        again.stop()
    if not acknowledged or (lost := len(acknowledged - stored)):
        raise CantMeasure(
            f"{holder.kind}: {len(acknowledged)} were acknowledged, and {lost if acknowledged else 0} lost."
        )
    return len(acknowledged)
