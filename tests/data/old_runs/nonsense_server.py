"""Serve the scripted policy on the port of the first argument, but answer with NaN if the task is about dressing."""

import sys

from pirig.policies.scripted import ScriptedPolicy
from pirig.serving.server import PolicyServer


class Nonsense(ScriptedPolicy):
    def infer(self, obs):
        answer = super().infer(obs)
        return {**answer, "actions": answer["actions"] * float("nan")} if "dressing" in obs["prompt"] else answer


if __name__ == "__main__":
    PolicyServer(Nonsense(), port=int(sys.argv[1])).run()
