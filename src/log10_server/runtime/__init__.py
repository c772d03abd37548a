"""Threads and background work of the server: reading, writing, the backfill of the ungraded index, CPU affinity."""
