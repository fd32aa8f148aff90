"""A policy server in a thread of the test's own process."""

import concurrent.futures
import contextlib

from pirig.serving.server import PolicyServer


@contextlib.contextmanager
def serve_in_thread(policy, *, port=0, **options):
    """Serve on loopback, on a free port unless `port` is given, while the block runs. Yields the port."""
    server = PolicyServer(policy, host="127.0.0.1", port=port, **options)
    ready = concurrent.futures.Future()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="policy-server") as thread:
        running = thread.submit(server.run, ready.set_result)
        try:
            concurrent.futures.wait([ready, running], return_when=concurrent.futures.FIRST_COMPLETED)
            if running.done():
                running.result()
            yield ready.result()
        finally:
            server.stop()
    running.result()
