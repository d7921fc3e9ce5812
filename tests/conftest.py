"""Settings for all tests."""

import structlog
from hypothesis import settings

# No time limit for an example: a busy machine takes its time.
settings.register_profile("replicator", deadline=None)
settings.load_profile("replicator")

# Tracebacks as the daemon prints them. The default shows all local variables, which takes a second or more for each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
