"""The seccomp filter, run by a small interpreter for both machines; test_confinement.py asks the kernel."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from serialization.checks import system_calls

REFUSED, ALLOWED = 0x00050001, 0x7FFF0000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def answer(program: Sequence[tuple[int, int, int, int]], architecture: int, number: int, *arguments: int) -> int:
    """The kernel's answer to a system call, by the rules of classic BPF."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            place += value
        else:
            met = accumulator == value if code == 0x15 else accumulator >= value
            assert code in (0x15, 0x35)
            place += if_true if met else if_false


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=request.param))
    return str(request.param)


def test_a_rule_is_alternatives_of_conditions(machine: str) -> None:
    never, stream, datagram = 59, [(0, 0xFF, [2, 10]), (1, 0xF, [1])], [(0, 0xFF, [1]), (1, 0xF, [2])]
    program = system_calls._assemble({never: [], 41: [stream, datagram]})
    architecture = ARCHITECTURES[machine]
    assert answer(program, architecture, never) == REFUSED
    assert answer(program, architecture, 60) == ALLOWED
    for arguments, expected in {
        (2, 1): ALLOWED,
        (10, 1 | 0x80000): ALLOWED,
        (2 | 1 << 40, 1): ALLOWED,  # the upper half of an int argument does not count
        (2, 2): REFUSED,
        (10, 3): REFUSED,
        (1, 2): ALLOWED,
        (1, 1): REFUSED,
        (16, 1): REFUSED,
    }.items():
        assert answer(program, architecture, 41, *arguments) == expected, arguments


def test_calls_by_another_architecture_are_refused(machine: str) -> None:
    """A number means another call there."""
    program = system_calls._assemble({59: []})
    for name, architecture in ARCHITECTURES.items():
        assert answer(program, architecture, 1) == (ALLOWED if name == machine else REFUSED)
    assert answer(program, 0x40000003, 1) == REFUSED  # 32-bit x86
    assert answer(program, ARCHITECTURES[machine], 0x40000000 + 59) == REFUSED  # x32


def test_every_call_has_its_number_on_both_machines() -> None:
    for column in (0, 1):
        numbers = [both[column] for both in system_calls._NUMBERS.values()]
        assert len(set(numbers)) == len(numbers)


def test_another_machine_has_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    assert (system_calls.find_landlock_abi(), system_calls.has_seccomp()) == (0, False)
