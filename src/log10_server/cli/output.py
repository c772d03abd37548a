"""How commands print what they list."""

from datetime import datetime

from log10_server.clock import utc


def as_time(at: int) -> str:
    """An instant (microseconds) as a person reads it."""
    moment: datetime = utc(at)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
