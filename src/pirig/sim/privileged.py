"""Read what the scripted policy may know and a real policy may not: the positions of all objects.

The values are read from live simulator data as a step left them; nothing is recomputed or written.
"""

from typing import Any

import numpy as np

_ROBOT = ("robot0", "gripper0", "mount0")  # prefixes of the robot's bodies
_PLANE = 0  # mjtGeom.mjGEOM_PLANE
_FINGERS = ("left_fingerpad", "right_fingerpad")


class PrivilegedView:
    """A `PrivilegedView` reads one built scene (`OffScreenRenderEnv.env`, after a reset), and looks up names only once.

    Every solid thing except the robot and infinite planes is a box: the bounding box of a collision geom.
    """

    def __init__(self, problem: Any):
        self._model, self._data = problem.sim.model._model, problem.sim.data._data
        things = {**problem.objects_dict, **problem.fixtures_dict}
        self._goal = [list(predicate) for predicate in problem.parsed_problem["goal_state"]]
        self._bodies = {name: problem.obj_body_id[name] for name in things}
        self._sites = {
            name: (self._model.site(name).id, state.parent_name)
            for name, state in problem.object_states_dict.items()
            if state.object_state_type == "site"
        }
        self._owners = list(things)
        self._index_boxes(things)
        robot = problem.robots[0]
        self._hand = robot.eef_site_id
        self._pads = [[self._model.geom(g).id for g in robot.gripper.important_geoms[finger]] for finger in _FINGERS]

    def read(self) -> dict[str, Any]:
        """Return plain values, which msgpack transmits bit for bit.

        There are N boxes; positions are in world coordinates [m].

        goal: predicates, e.g. [["on", "bowl_1", "plate_1"]]
        boxes: center [N, 3], rotation [N, 3, 3], half [N, 3] (half sizes), owner [N] (index of owners, or -1)
        owners: names of objects and fixtures; bodies: position [3] by name
        sites: by name, position [3] and the name of the object it belongs to
        gripper: position [3] and rotation [3, 3] of the grip site, axis [3] along which the fingers open
        """
        data, geoms = self._data, self._geoms
        rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
        offset = np.einsum("nij,nj->ni", rotation, self._model.geom_aabb[geoms, :3])
        left, right = (data.geom_xpos[pads].mean(axis=0) for pads in self._pads)
        return {
            "goal": self._goal,
            "owners": self._owners,
            "boxes": {
                "center": data.geom_xpos[geoms] + offset,
                "rotation": rotation,
                "half": self._model.geom_aabb[geoms, 3:],
                "owner": self._owner,
            },
            "bodies": {name: data.xpos[i].copy() for name, i in self._bodies.items()},
            "sites": {name: {"position": data.site_xpos[i].copy(), "of": of} for name, (i, of) in self._sites.items()},
            "gripper": {
                "position": data.site_xpos[self._hand].copy(),
                "rotation": data.site_xmat[self._hand].reshape(3, 3).copy(),
                "axis": (left - right) / np.linalg.norm(left - right),
            },
        }

    def _index_boxes(self, things: dict[str, Any]) -> None:
        model = self._model
        owner_of = {model.geom(g).id: i for i, thing in enumerate(things.values()) for g in thing.contact_geoms}
        collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        solid = collides & (model.geom_type != _PLANE)
        robot = np.array([model.body(i).name.startswith(_ROBOT) for i in model.geom_bodyid])
        self._geoms = np.flatnonzero(solid & ~robot)
        self._owner = np.array([owner_of.get(int(i), -1) for i in self._geoms], np.int64)
