"""Confines the process that loads a model, so that a hole in the scan does no harm: the kernel has the last word.

A model is a program that TensorFlow runs. `confine` takes from this process all that it can run without: files other
than the model's and the software's, connections, programs, signals to others, and the secrets of the environment. It
is called before numpy and TensorFlow start threads, for Landlock holds for the thread that asks and those it starts.
docs/safety.md lists what a model can still do, and what it can do under a kernel without Landlock.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serialization.checks.system_calls import (
    EXECUTE,
    READ,
    READ_DIR,
    USE_DEVICE,
    WRITE,
    Rule,
    filter_calls,
    find_landlock_abi,
    has_seccomp,
    restrict_files,
)
from serialization.console import format_error, make_printable, shorten_words
from serialization.project import PRETRAINED, ROOT, real_path

_NEEDED_VARIABLES = re.compile(
    "LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLUMNS|LINES|PATH|LD_LIBRARY_PATH|VIRTUAL_ENV|PYTHON[A-Z0-9]+|NO_COLOR|FORCE_COLOR|"
    "CLICOLOR(_FORCE)?|GLIBC_TUNABLES|MALLOC_[A-Z_]+|(CUDA|XLA|OMP|KMP|MKL|OPENBLAS|ONEDNN|DNNL|HIP|ROCM)_[A-Z0-9_]+|"
    "TF_(CPP|CUDNN|CUBLAS|DETERMINISTIC|DISABLE|ENABLE|FORCE|GPU|NUM|ONEDNN|OVERRIDE|USE|XLA)_[A-Z0-9_]+"
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH")

# The software that runs: what Python, its libraries and the C library open. A name that is not there is left out.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
_SETTINGS = (
    *("ld.so.cache", "ld.so.preload", "localtime", "timezone", "mime.types", "nsswitch.conf"),
    *("ssl/openssl.cnf", "pki/tls/openssl.cnf", "crypto-policies/back-ends/opensslcnf.config"),
)
# Neither environ nor mem, which would tell what the environment held.
_PROCESS = ("cmdline", "maps", "stat", "statm", "status", "cgroup", "mountinfo", "limits")
_MACHINE = ("cpuinfo", "meminfo", "stat", "loadavg", "version", "filesystems", "devices", "sys/kernel", "sys/vm")
_HARDWARE = ("/sys/devices", "/sys/fs/cgroup", "/sys/bus/pci", "/sys/module", "/sys/class/kfd")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# A graphics processor is used through its devices, and XLA starts the compilers of its code.
_GRAPHICS = ("nvidia*", "nvidia-caps/*", "kfd", "dri/*")
_COMPILERS = ("ptxas", "nvlink", "fatbinary")

# socket(2), send(2)
_UNIX, _INET, _INET6, _STREAM, _DATAGRAM, _TCP, _FASTOPEN = 1, 2, 10, 1, 2, 6, 0x20000000
_TYPE_ONLY = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
_WHOLE = 0xFFFFFFFF

_NOWHERE = Path("/dev/null/none")  # a folder that cannot be there

_is_confined = False  # this process


def confine(read: Collection[Path], write: Collection[Path], ports: Collection[int] = ()) -> None:
    """Leave this process the software, the right to read `read`, to write below the folders `write`, to listen.

    The first folder of `write` is for temporary files; without one there is no place for them. Without `ports` there
    are no sockets at all. What the kernel does not have is left out.
    """
    if sys.platform != "linux":
        return
    global _is_confined
    _is_confined = True
    graphics = [path for name in _GRAPHICS for path in Path("/dev").glob(name)]
    temporary = next(iter(write), _NOWHERE)
    _reduce_environment(temporary)
    abi = find_landlock_abi()
    # The first Landlock refuses each rename from one folder to another, which TensorFlow does when it exports.
    confines_files = abi > 1 or (abi == 1 and len(write) <= 1)
    if confines_files:
        allowed = [(path, READ) for path in (*_list_software(), *read)]
        # A checkpoint is found among the files of its folder, and the error about a missing model lists its folder:
        # the process may read the names there, not the files. Python finds a module among the names of its folder.
        listed = [path for path in read if path.name.endswith((".index", ".meta", ".py")) or not path.exists()]
        allowed += [(path.parent, READ_DIR) for path in listed]
        allowed += [(path, WRITE) for path in write]
        allowed += [(path, USE_DEVICE) for path in (*map(Path, _DEVICES), *graphics)]
        allowed += [(path, READ | EXECUTE) for path in (_list_compilers() if graphics else ())]
        restrict_files(allowed, ports, talks=bool(ports))
    if has_seccomp():
        filter_calls(_list_rules(listens=bool(ports), compiles=bool(graphics) and confines_files))


def explain_error(error: BaseException) -> str:
    """The error's message on one line, with the way out where it may be the confinement that it comes of.

    Names of a model in it cannot move a terminal's cursor.
    """
    text = format_error(error)
    text = shorten_words(make_printable(text, len(text)))
    if not (_is_confined and re.search("(permission denied|operation not permitted)", text, re.IGNORECASE)):
        return text
    return f"{text}; this process is confined (docs/safety.md); --allow-read PATH opens a path for an honest model"


def describe_confinement() -> str:
    """One sentence: the means by which this machine confines a model."""
    abi = find_landlock_abi()
    means = [f"Landlock (ABI {abi})"] if abi else []
    means += ["a seccomp filter"] if has_seccomp() else []
    if not means:
        return "models are not confined: this system has neither Landlock nor seccomp filters"
    lacking = "" if abi else "; files are not, as this system has no Landlock"
    return f"models are confined by {' and '.join(means)}{lacking}"


def _reduce_environment(temporary: Path) -> None:
    """Keep the variables that the software needs, and overwrite the memory in which /proc shows all of them.

    The home folder becomes the temporary folder: `import tensorflow` reads and writes ~/.keras there.
    """
    kept = _select_needed(os.environ)
    os.environ.clear()
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[47]), int(fields[48])  # proc_pid_stat(5): env_start, env_end
    ctypes.memset(begin, 0, end - begin)
    _replace_variables({**kept, "HOME": str(temporary), "TMPDIR": str(temporary)})
    tempfile.tempdir = str(temporary)


@contextmanager
def needed_environment() -> Iterator[None]:
    """For the processes that this one starts meanwhile: only the variables that the software needs.

    So their memory never holds the others.
    """
    whole = dict(os.environ)
    _replace_variables(_select_needed(whole))
    try:
        yield
    finally:
        _replace_variables(whole)


def _replace_variables(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _select_needed(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that set up Python, TensorFlow and its libraries, and hold no secret."""
    return {n: v for n, v in variables.items() if _NEEDED_VARIABLES.fullmatch(n) and not _SECRET.search(n)}


def _list_software() -> Iterator[Path]:
    """Python, its packages, this project's code, the libraries of the system, its settings and its hardware."""
    yield from map(Path, (*_SYSTEM, *_HARDWARE, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))
    yield from (Path(place) for place in sys.path if place and real_path(Path(place)) != ROOT)
    yield from (ROOT / "serialization", PRETRAINED, *ROOT.glob("*.py"))
    yield from (Path(place) for place in os.environ.get("LD_LIBRARY_PATH", "").split(":") if place)
    yield from (Path("/etc") / name for name in _SETTINGS)
    yield from (Path("/proc") / name for name in (*_MACHINE, "driver/nvidia"))
    yield from (Path("/proc/self") / name for name in _PROCESS)


def _list_compilers() -> Iterator[Path]:
    """The programs that compile for a graphics processor, where they are, and what starts a program."""
    packages = [Path(place) / "nvidia" / "cuda_nvcc" / "bin" for place in sys.path if place]
    for folder in [*packages, *Path("/usr/local").glob("cuda*/bin"), *map(Path, os.get_exec_path())]:
        yield from (folder / name for name in _COMPILERS)
    yield from Path("/lib64").glob("ld-linux*")
    yield from Path("/lib").glob("ld-linux*")


def _list_rules(*, listens: bool, compiles: bool) -> dict[str, Rule]:
    """The system calls that the filter refuses: always, or unless their rule allows them."""
    never = (
        *("connect", "io_uring_setup", "io_uring_enter", "io_uring_register"),
        *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd"),
        *("tkill", "pidfd_send_signal", "open_by_handle_at", "mount", "setns", "unshare"),
        *("bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl"),
        *(() if compiles else ("execve", "execveat")),
    )
    tcp = [(0, _WHOLE, [_INET, _INET6]), (1, _TYPE_ONLY, [_STREAM]), (2, _WHOLE, [0, _TCP])]
    to_each_other = [(0, _WHOLE, [_UNIX]), (1, _TYPE_ONLY, [_DATAGRAM])]  # workers ask for each other's metrics
    to_itself = [[(0, _WHOLE, [os.getpid()])]]
    return {
        **{name: [] for name in never},
        "socket": [tcp, to_each_other] if listens else [],
        "sendto": [[(3, _FASTOPEN, [0])]],  # with it, sending connects
        "sendmsg": [[(2, _FASTOPEN, [0])]],
        "sendmmsg": [[(3, _FASTOPEN, [0])]],
        **dict.fromkeys(("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"), to_itself),
    }
