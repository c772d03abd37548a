"""The versioned API, `/api/v1`. Each module has the request models, answers and endpoints of one kind of resource."""

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
