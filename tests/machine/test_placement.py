"""Who gets which GPU and which cores, from tables as the driver and EGL gave them."""

import pytest

from pirig.machine import egl
from pirig.machine.egl import EglDevice, pair
from pirig.machine.gpus import local_cores, parse, visible
from pirig.machine.placement import HostPlace, host_places, worker_places

SMI = """\
0, NVIDIA H100 80GB HBM3, 81559, 570.124.06, GPU-11111111-0000-0000-0000-000000000000, 00000000:18:00.0
1, NVIDIA H100 80GB HBM3, 81559, 570.124.06, GPU-22222222-0000-0000-0000-000000000000, 00000000:2A:00.0
2, NVIDIA H100 80GB HBM3, 81559, 570.124.06, GPU-33333333-0000-0000-0000-000000000000, 0000000F:3A:00.0
"""
GPUS = parse(SMI)


def test_what_the_driver_says_is_read():
    assert [gpu.pci for gpu in GPUS] == ["0000:18:00.0", "0000:2a:00.0", "000f:3a:00.0"]
    assert GPUS[1].index == 1
    assert GPUS[1].memory_mib == 81559
    assert GPUS[1].uuid.startswith("GPU-2222")
    assert parse("Failed to initialize NVML") == []


@pytest.mark.parametrize(
    ("variable", "indices"),
    [("", [0, 1, 2]), ("2,0", [2, 0]), (GPUS[1].uuid, [1]), ("GPU-3333", [2]), ("7", []), ("MIG-1", [])],
)
def test_a_scheduler_may_take_gpus_away(variable, indices):
    assert [gpu.index for gpu in visible(GPUS, variable)] == indices


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (
            [EglDevice(0, GPUS[2].uuid), EglDevice(1, GPUS[0].uuid, cuda=1), EglDevice(2, GPUS[1].uuid)],
            {2: 0, 0: 1, 1: 2},
        ),
        ([EglDevice(0, pci="0000:2a:00.0", cuda=0), EglDevice(1, pci="0000:18:00.0"), EglDevice(2)], {1: 0, 0: 1}),
        ([EglDevice(0, cuda=1), EglDevice(1, cuda=0)], {1: 0, 0: 1}),
        ([EglDevice(0, pci="0000:99:00.0", cuda=0)], {}),
        ([EglDevice(0)], {}),
        ([], {}),
    ],
    ids=["UUID", "PCI, one in software", "CUDA's number", "its number, but another place", "software", "nothing"],
)
def test_an_egl_device_is_its_gpu_whatever_its_number(devices, expected):
    assert pair(devices, GPUS) == expected


def test_a_device_file_tells_its_place_on_the_bus(tmp_path):
    at = tmp_path / "devices/pci0000:16/0000:18:00.0"
    at.mkdir(parents=True)
    (tmp_path / "class/card1").mkdir(parents=True)
    (tmp_path / "class/card1/device").symlink_to(at)
    (tmp_path / "class/card0").mkdir()
    (tmp_path / "class/card0/device").symlink_to(tmp_path / "devices/vgem")
    assert egl.pci_of("/dev/dri/card1", tmp_path / "class") == "0000:18:00.0"
    assert egl.pci_of("/dev/dri/card0", tmp_path / "class") == egl.pci_of("/dev/dri/card7", tmp_path / "class") == ""


def test_the_cores_beside_a_gpu(tmp_path):
    (tmp_path / GPUS[0].pci).mkdir()
    (tmp_path / GPUS[0].pci / "local_cpulist").write_text("0-3,8,12-13\n")
    assert local_cores(GPUS[0], tmp_path) == {0, 1, 2, 3, 8, 12, 13}
    assert local_cores(GPUS[1], tmp_path) == set()


def test_mesa_is_a_device_that_is_no_gpu():
    """On a machine without one; elsewhere every GPU has its own."""
    found = egl.devices()
    assert [device.index for device in found] == list(range(len(found)))
    assert not pair([device for device in found if not device.pci and device.cuda is None], GPUS)


def test_workers_and_hosts_are_dealt_evenly_and_each_renders_where_its_host_computes():
    near = {0: set(range(8)), 1: set(range(8)), 2: set(range(8, 16))}
    hosts = host_places(3, GPUS)
    assert [host.gpu.index for host in hosts] == [0, 1, 2]
    places = worker_places(15, hosts, GPUS, range(16), near=near, egl={0: 1, 1: 2, 2: 0})
    assert [sum(place.host == host for place in places) for host in range(3)] == [5, 5, 5]
    assert {(place.host, place.egl) for place in places} == {(0, 1), (1, 2), (2, 0)}
    cores = [place.core for place in places]
    assert len(set(cores)) == 15
    assert all(place.core in near[2] for place in places if place.host == 2)
    crowded = worker_places(17, hosts, GPUS, range(16), near=near, egl={})
    assert {place.core for place in crowded} == {None}
    assert {place.egl for place in crowded} == {None}


def test_hosts_without_a_gpu_are_alike():
    """Whatever their number: on fewer cores one would start fewer threads, and round otherwise."""
    assert host_places(3, []) == [HostPlace()] * 3


def test_without_a_policy_here_workers_render_on_all_gpus():
    places = worker_places(4, [], GPUS[:2], range(4), near={}, egl={0: 0, 1: 1})
    assert [place.egl for place in places] == [0, 1, 0, 1]
    assert [place.core for place in places] == [0, 1, 2, 3]
