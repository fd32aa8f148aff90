"""For tests of parts that implement pirig's interfaces: their laws, to be inherited (`laws`), and fakes (`fakes`)."""

from pirig.testing.fakes import FakeEnvironment, FakePolicy, FunctionWorker
from pirig.testing.laws import EnvironmentLaws, PolicyLaws, StoreLaws

__all__ = ["EnvironmentLaws", "FakeEnvironment", "FakePolicy", "FunctionWorker", "PolicyLaws", "StoreLaws"]
