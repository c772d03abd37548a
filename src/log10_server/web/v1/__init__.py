"""The documented dialect, `/api/v1`: a file for each noun, with its request models and answers beside its endpoints."""

from log10_server.web.v1 import batches, completions, feedback, feedback_tasks, sessions, test_runs, usage

ROUTERS = [
    completions.router,
    batches.router,
    sessions.router,
    feedback_tasks.router,
    feedback.router,
    test_runs.router,
    usage.router,
]
