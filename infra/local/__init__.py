"""Real servers on this machine, for the demonstration cluster and for tests."""

# Keeps proxies away from them.
import pipelines  # noqa: F401
