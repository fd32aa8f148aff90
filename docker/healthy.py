"""Health of the policy server: its port opens after loading and warm-up, so an answer means ready."""

import sys
import urllib.request

try:
    urllib.request.urlopen("http://127.0.0.1:8000/healthz", timeout=3).read()
except OSError as e:
    sys.exit(f"not ready: {e}")
