"""Define the policies that can be evaluated. To load one: `from pirig.policies import ModelChoice, create_policy`."""

from typing import TYPE_CHECKING, Any

from pirig.policies.choice import ModelChoice, PackChoice

if TYPE_CHECKING:
    from pirig.policies.factory import create_policy

__all__ = ["ModelChoice", "PackChoice", "create_policy"]


def __getattr__(name: str) -> Any:
    if name == "create_policy":  # imported on first use, because policies without a model do not need it
        from pirig.policies.factory import create_policy

        return create_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
