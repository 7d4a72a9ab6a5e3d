"""Start `bulkreset` by a fork from one process that has it imported: a tenth of the time of a fresh start.

Each line on standard input is an order in JSON; each line on standard output is the exit code of one.
Only what is run is forked: arguments, environment, folder, files and signals are as in a process of its own.
"""

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import threading

import bulkreset
from bulkreset.cli import identity
from bulkreset.cli.app import main

_CAPABILITY_VERSION_3 = 0x20080522


def preload():
    for module in pkgutil.walk_packages(bulkreset.__path__, "bulkreset."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("aiosqlite", "sqlalchemy.dialects.sqlite.aiosqlite", "alembic.command", "rich.table"):
        importlib.import_module(name)


def become(order):
    """Turn this process into the one that was ordered."""
    os.setsid()
    signal.alarm(order["patience_s"])  # a command that hangs ends with -14, and not the tests with it
    if order["terminal"]:
        files = [os.open(order["terminal"], os.O_RDWR)] * 3  # the first terminal of a session controls it
    else:
        files = [os.open(order["stdin"], os.O_RDONLY)]
        files += [os.open(order[name], os.O_WRONLY | os.O_APPEND) for name in ("stdout", "stderr")]
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.umask(order["umask"])
    if order["obeys_modes"]:
        drop_capabilities()
    if order["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    if behind := os.environ.get(
        "SUDO_USER"
    ):  # as real sudo has it, whoever runs the tests and from whatever login
        environment = {"SUDO_USER": behind, "SUDO_UID": "4711"}
        played = identity.Surroundings(0, "root", None, None, environment, lambda _: 4711)
        identity.surroundings = lambda: played
    sys.argv = ["bulkreset", *order["arguments"]]


def end(program):
    """Run it and end as Python does, but for the walk through all objects, which takes as long as the rest."""
    code = 0
    try:
        program()
    except SystemExit as exit_:
        code = exit_.code or 0
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    if sys.stdout is not None:  # as after a broken pipe
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def drop_capabilities():
    """Make root as bound by file modes as anybody is."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None).capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        raise OSError("capset failed")


if __name__ == "__main__":
    preload()
    gc.freeze()  # or each child walks through all that was imported
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            end(main)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
