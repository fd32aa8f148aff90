"""Runs scripts/vm/install.sh in a stand-in for an Ubuntu VM: `make test-vm`, as root on Debian, a minute.

The VM is a Debian file system that calls itself Ubuntu, on a memory disk, in a network namespace where Docker's and
NVIDIA's addresses lead to signed apt repositories that are served here, over TLS. Real: bash, apt, dpkg, curl, sudo,
certificates, signatures, groups. Stand-ins: what the packages contain, systemctl, modprobe, the GPU's entry on PCI.
"""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).parents[2]
HOSTS = ("download.docker.com", "nvidia.github.io")
MEMBER = "ubuntu"
UP = """[ -e /run/docker.up ] && { [ "$(id -u)" = 0 ] || id -nG | grep -qw docker; } || { echo denied; exit 1; }"""
DOCKER = f"""#!/bin/sh
plugins=/usr/libexec/docker/cli-plugins
case "$*" in
    "compose version --short") [ -e $plugins/docker-compose ] && echo 2.40.3 ;;
    "buildx version") [ -e $plugins/docker-buildx ] ;;
    "version --format "*) {UP}; echo 29.0.0 ;;
    "info --format {{{{json .Runtimes}}}}") {UP}; cat /run/docker.runtimes ;;
    "info --format {{{{.DockerRootDir}}}}") {UP}; echo /var/lib/docker ;;
    info) {UP} ;;
    "run --rm --gpus all "*) {UP}; grep -q nvidia /run/docker.runtimes && echo "GPU 0: a stand-in" ;;
    *) exit 1 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/var/log/systemctl
[ "$*" = "restart docker" ] || exit 0
touch /run/docker.up
{ cat /etc/docker/daemon.json 2>/dev/null || echo '{}'; } >/run/docker.runtimes
"""
NVIDIA_CTK = """#!/bin/sh
[ "$*" = "runtime configure --runtime=docker" ] || exit 1
mkdir -p /etc/docker
echo '{"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}' >/etc/docker/daemon.json
"""
NVIDIA_SMI = '#!/bin/sh\n[ -e /run/nvidia.loaded ] && echo "NVIDIA L4, 23034, 580.95.05"\n'
UBUNTU_DRIVERS = '#!/bin/sh\n[ "$*" = "install --gpgpu nvidia:580-server" ]\n'
GROUP = "#!/bin/sh\ngroupadd --force --system docker\n"
PLUGINS = "usr/libexec/docker/cli-plugins"
DOCKERS = {  # package -> files
    "docker-ce": {"usr/bin/dockerd": "#!/bin/sh\n", "DEBIAN/postinst": GROUP},
    "docker-ce-cli": {"usr/bin/docker": DOCKER},
    "containerd.io": {},
    "docker-buildx-plugin": {f"{PLUGINS}/docker-buildx": "#!/bin/sh\n"},
    "docker-compose-plugin": {f"{PLUGINS}/docker-compose": "#!/bin/sh\n"},
}
NVIDIAS = {"nvidia-container-toolkit": {"usr/bin/nvidia-ctk": NVIDIA_CTK}}
UBUNTUS = {
    "make": {"usr/bin/make": "#!/bin/sh\n"},
    "docker.io": {"usr/bin/docker": "#!/bin/sh\nexit 1\n"},
    "docker-compose-v2": {f"{PLUGINS}/docker-compose": "#!/bin/sh\n"},
    "ubuntu-drivers-common": {"usr/bin/ubuntu-drivers": UBUNTU_DRIVERS},
    "nvidia-utils-580-server": {"usr/bin/nvidia-smi": NVIDIA_SMI},
    "libnvidia-gl-580-server": {},
}


def main() -> None:
    if sys.argv[1:2] == ["inside"]:
        with tempfile.TemporaryDirectory() as folder:
            run("mount", "-t", "tmpfs", "-o", "size=100g", "none", folder)  # gone with the namespace
            try:
                check(pathlib.Path(folder), pathlib.Path(sys.argv[2]))
            finally:
                run("umount", "--lazy", folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        debian(pathlib.Path(folder, "system"))  # while there is a network
        again = [sys.executable, __file__, "inside", f"{folder}/system"]
        code = subprocess.call(["unshare", "--net", "--mount", "--propagation", "private", *again])
    sys.exit(code)


def check(work: pathlib.Path, debian_system: pathlib.Path) -> None:
    web, keyring = repositories(work)
    template = system(work / "template", debian_system, web)
    with served(web, work, template):
        for scenario in (a_fresh_vm_with_a_gpu, a_vm_without_a_gpu, an_address_that_gives_no_key):
            vm = Vm(work / scenario.__name__, template)
            try:
                scenario(vm, keyring, web)
            finally:
                vm.end()
            print(f"ok: {scenario.__name__.replace('_', ' ')}")


def a_fresh_vm_with_a_gpu(vm: "Vm", keyring: bytes, web: pathlib.Path) -> None:
    vm.call_itself("22.04", "jammy")
    device = vm.path("sys/bus/pci/devices/0000:00:04.0")
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")

    before = vm.snapshot()
    code, said = vm.install()
    assert code == 1, said
    assert "fix: scripts/vm/install.sh --driver" in said, said
    assert "nothing was changed" in said, said
    assert vm.snapshot() == before, "a refusal must change nothing"

    code, said = vm.install("--driver")
    assert code == 0, said
    assert "verified: a container sees 1 GPU(s): GPU 0: a stand-in" in said, said
    assert f"added {MEMBER} to the group docker" in said, said
    assert "restarted Docker" in said, said
    sources = vm.path("etc/apt/sources.list.d")
    assert "Suites: jammy\nComponents: stable\n" in (sources / "docker.sources").read_text()
    for name in ("docker", "nvidia-container-toolkit"):
        assert f"Signed-By: /etc/apt/keyrings/{name}.asc\n" in (sources / f"{name}.sources").read_text()
        keys = vm.path(f"etc/apt/keyrings/{name}.asc").stat()
        assert (keys.st_uid, keys.st_mode & 0o777) == (0, 0o644)
    assert vm.systemctl().count("restart docker") == 1

    before = vm.snapshot()
    for flags in ([], ["--driver"]):
        code, said = vm.install(*flags)
        assert code == 0, said
        assert said.endswith("install: nothing had to be changed\n"), said
    assert vm.snapshot() == before, "a second run must change nothing"

    code, said = vm.run("scripts/vm/preflight.sh", "run")
    assert "ok      gpu: NVIDIA L4, 23034 MiB; driver 580.95.05" in said, said
    assert "ok      engine: Docker 29.0.0, compose 2.40.3" in said, said
    assert "ok      GPU in containers: " in said, said
    assert "fix: sudo apt-get install -y libnvidia-gl-580-server" in said, said  # the stand-in has no library in it

    vm.path("run/docker.runtimes").write_text("{}")  # as if the last run had ended before the restart
    code, said = vm.install()
    assert code == 0, said
    assert said.endswith("done: restarted Docker\n"), said


def a_vm_without_a_gpu(vm: "Vm", keyring: bytes, web: pathlib.Path) -> None:
    """With Docker's repository under another key file, and Ubuntu's packages, stopped, in the way."""
    vm.call_itself("24.04", "noble")
    vm.path("usr/share/keyrings/docker.gpg").write_bytes(keyring)
    entry = "deb [signed-by=/usr/share/keyrings/docker.gpg] https://download.docker.com/linux/ubuntu noble stable\n"
    vm.path("etc/apt/sources.list.d/docker.list").write_text(entry)
    vm.as_root("sh", "-c", "apt-get -q update && apt-get -q -y install docker.io docker-compose-v2")
    code, said = vm.install()
    assert code == 0, said
    assert "verified: Docker and compose; there is no NVIDIA GPU" in said, said
    assert "removed docker.io docker-compose-v2" in said, said
    assert "added the apt repository" not in said, said
    assert not vm.path("etc/apt/keyrings/docker.asc").exists(), said
    assert "nvidia-container-toolkit" not in said.replace("the NVIDIA container toolkit", ""), said
    code, said = vm.install()
    assert code == 0, said
    assert said.endswith("install: nothing had to be changed\n"), said
    assert "kept Docker 29.0.0, compose 2.40.3" in said, said


def an_address_that_gives_no_key(vm: "Vm", keyring: bytes, web: pathlib.Path) -> None:
    vm.call_itself("24.04", "noble")
    key = web / "download.docker.com/linux/ubuntu/gpg"
    right = key.read_bytes()
    key.write_text("<html>Please log in to this network</html>")
    code, said = vm.install()
    assert code == 1, said
    assert "is no armoured key: <html>Please log in" in said, said
    assert not vm.path("etc/apt/sources.list.d/docker.sources").exists()
    key.write_bytes(right)
    code, said = vm.install()
    assert code == 0, said


class Vm:
    """A file system of its own; `run` is what its user types in the checkout."""

    def __init__(self, folder: pathlib.Path, template: pathlib.Path):
        self.folder = folder
        run("cp", "-a", template, folder)
        run("mount", "-t", "proc", "proc", folder / "proc")

    def end(self) -> None:
        run("umount", self.folder / "proc")
        shutil.rmtree(self.folder)

    def path(self, name: str) -> pathlib.Path:
        return self.folder / name

    def call_itself(self, version: str, codename: str) -> None:
        release = self.path("etc/os-release")
        release.unlink()
        release.write_text(f'ID=ubuntu\nVERSION_ID="{version}"\nVERSION_CODENAME={codename}\n')

    def as_root(self, *words: str) -> tuple[int, str]:
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(
            ["chroot", self.folder, *words], env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return done.returncode, done.stdout

    def run(self, script: str, *words: str) -> tuple[int, str]:
        return self.as_root("runuser", "-u", MEMBER, "--", "env", f"HOME=/home/{MEMBER}", f"/pirig/{script}", *words)

    def install(self, *words: str) -> tuple[int, str]:
        return self.run("scripts/vm/install.sh", *words)

    def systemctl(self) -> list[str]:
        return self.path("var/log/systemctl").read_text().splitlines()

    def snapshot(self) -> dict[str, bytes]:
        """All that counts as changed, by content."""
        files = [path for name in ("etc", "usr/bin", "var/lib/dpkg") for path in self.path(name).rglob("*")]
        files.append(self.path("var/log/systemctl"))
        return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in files if path.is_file()}


def repositories(work: pathlib.Path) -> tuple[pathlib.Path, bytes]:
    """The web's tree, a folder for each host and one for Ubuntu's own; and the key, as `gpg --export` gives it."""
    web, home = work / "web", work / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    run(*gpg, "--quick-generate-key", "stand-in", "rsa3072", "sign", "never")
    armoured = subprocess.run([*gpg, "--armor", "--export"], check=True, stdout=subprocess.PIPE).stdout
    docker, nvidia = web / "download.docker.com/linux/ubuntu", web / "nvidia.github.io/libnvidia-container"
    for suite in ("jammy", "noble"):
        index(docker, DOCKERS, docker / f"dists/{suite}", "stable/binary-amd64/", gpg)
    index(nvidia / "stable/deb/amd64", NVIDIAS, nvidia / "stable/deb/amd64", "", gpg)
    index(web / "ubuntu", UBUNTUS, web / "ubuntu", "", gpg)
    (docker / "gpg").write_bytes(armoured)
    (nvidia / "gpgkey").write_bytes(armoured)
    keyring = subprocess.run([*gpg, "--export"], check=True, stdout=subprocess.PIPE).stdout
    run("gpgconf", "--homedir", home, "--kill", "all")
    return web, keyring


def index(top: pathlib.Path, packages: dict, release: pathlib.Path, place: str, gpg: list) -> None:
    """Builds `packages` below `top`, and their signed index at `release`/`place`."""
    rows = []
    (top / "pool").mkdir(parents=True, exist_ok=True)
    for name, files in packages.items():
        tree, deb = top / "tree", top / f"pool/{name}.deb"
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: nobody\nDescription: a stand-in\n"
        for path, text in {"DEBIAN/control": control, **files}.items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o644 if path.endswith("control") else 0o755)
        if not deb.exists():  # a second suite has the same packages, byte for byte
            run("dpkg-deb", "--build", "--root-owner-group", tree, deb, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        data = deb.read_bytes()
        rows.append(
            f"{control}Filename: pool/{name}.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    text = "\n".join(rows).encode()
    (release / place).mkdir(parents=True, exist_ok=True)
    lines = [
        "Date: Thu, 01 Jan 2026 00:00:00 UTC",
        f"Suite: {release.name}",
        "Architectures: amd64",
        "Components: stable",
    ]
    lines.append("SHA256:")
    for name, data in {"Packages": text, "Packages.gz": gzip.compress(text)}.items():
        (release / place / name).write_bytes(data)
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {place}{name}")
    (release / "Release").write_text("\n".join(lines) + "\n")
    run(*gpg, "--yes", "--clearsign", "-o", release / "InRelease", release / "Release")


def debian(folder: pathlib.Path) -> None:
    """A small Debian 12, from the mirror that this machine uses. Without make, which install.sh has to install."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], check=True, stdout=subprocess.PIPE, text=True
    )
    mirror = next(line for line in targets.stdout.splitlines() if "security" not in line)
    words = ["--variant=minbase", "--include=ca-certificates,curl,git,rsync,sudo", "bookworm", folder, mirror]
    run("debootstrap", *words, stdout=subprocess.DEVNULL)


def system(folder: pathlib.Path, debian_system: pathlib.Path, web: pathlib.Path) -> pathlib.Path:
    """What all the VMs begin with."""
    run("cp", "-a", debian_system, folder)
    run("chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", MEMBER)
    (folder / "etc/sudoers.d/member").write_text(f"{MEMBER} ALL=(ALL) NOPASSWD:ALL\n")
    (folder / "etc/hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename} {' '.join(HOSTS)}\n")
    (folder / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/ubuntu ./\n")
    shutil.copytree(web / "ubuntu", folder / "srv/ubuntu")
    for name, text in {
        "usr/bin/systemctl": SYSTEMCTL,
        "usr/sbin/modprobe": "#!/bin/sh\ntouch /run/$1.loaded\n",
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "var/log/systemctl").write_text("")
    shutil.copytree(ROOT / "scripts", folder / "pirig/scripts")
    (folder / "pirig").chmod(0o755)
    return folder


@contextlib.contextmanager
def served(web: pathlib.Path, work: pathlib.Path, template: pathlib.Path):
    """HTTPS on 127.0.0.1, with a certificate that `template` trusts."""
    names = ",".join(f"DNS:{name}" for name in HOSTS)
    key, certificate = work / "key.pem", template / "usr/local/share/ca-certificates/stand-in.crt"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stand-in"]
    run(*openssl, "-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate, stderr=subprocess.DEVNULL)
    run("chroot", template, "update-ca-certificates", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run("ip", "link", "set", "lo", "up")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            return super().translate_path(f"/{self.headers['Host']}{path}")

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), functools.partial(Handler, directory=web))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()


def run(*words, **streams) -> None:
    subprocess.run([str(word) for word in words], check=True, **streams)


if __name__ == "__main__":
    main()
