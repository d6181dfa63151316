"""The worker: a warm, single-threaded process that forks a child for each test, and never sees what it is about.

The child reads the request from the pipe; the worker relays what the child says. So nothing of one program is in the
memory from which the next one is forked.
"""

import gc
import json
import os
import random
import select
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from lightning_marlhf.sandbox import frames
from lightning_marlhf.sandbox.inside import child, confinement, program
from lightning_marlhf.sandbox.inside.confinement import Confinement
from lightning_marlhf.sandbox.report import BROKEN, CONFINED
from lightning_marlhf.sandbox.verdicts import Limits

REQUESTS, ANSWERS = 0, 1

_PRELOADED = """
import abc, array, ast, base64, bisect, builtins, calendar, cmath, codecs, copy, csv, dataclasses, datetime, decimal
import enum, fractions, functools, hashlib, heapq, inspect, io, itertools, json, locale, math, numbers, operator, os
import pprint, queue, random, re, select, signal, statistics, string, struct, textwrap, threading, time, traceback
import types, typing, unicodedata, warnings, weakref, zlib
"""

# What the official test program puts before every program of APPS (hendrycks/apps @ 1eecd13, eval/testing_util.py), and
# more of the names that sites such as LeetCode, where many of the problems are from, give to programs.
_PRELUDE = """
import sys, time, itertools, collections, math, fractions, random, heapq
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from bisect import bisect, bisect_left, bisect_right, insort
from functools import cache, cmp_to_key, lru_cache, reduce
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, inf, log, log2
from typing import Any, Dict, List, Optional, Set, Tuple, Union
from heapq import *
"""
_NUMPY = "import numpy as np, numpy.linalg, numpy.fft, numpy.polynomial, numpy.random, numpy.ma"


def main() -> None:
    """Serve requests until the trainer closes the pipe. The settings are the first argument, as JSON."""
    settings = json.loads(sys.argv[1])
    names = _preload(settings["numpy"])
    foreign = (settings["root"], settings["numpy"])
    sys.path[:] = [folder for folder in sys.path if folder not in foreign]
    limits = Limits(**settings["limits"])
    confined = Confinement(settings["readable"], use_landlock=settings["landlock"], use_seccomp=settings["seccomp"])
    streams = child.Streams(limits.output_bytes)
    confinement.harden(become=settings["become"])
    confined.measure()
    gc.collect()
    gc.freeze()
    frames.send(ANSWERS, {"ready": True})
    while _wait_for_request():
        _serve(names, confined, streams, limits)
    os._exit(0)


def _serve(names: dict[str, Any], confined: Confinement, streams: child.Streams, limits: Limits) -> None:
    worker = os.getpid()

    def body(ends: tuple[int, int, int]) -> None:
        _be_child(ends, names, confined, limits, worker=worker)

    exceeded, status, cpu_s = child.run(body, streams, limits=limits, lifeline=REQUESTS)
    _sweep()
    frames.send(
        ANSWERS,
        {
            "exceeded": exceeded,
            "status": status,
            "cpu_s": cpu_s,
            "sizes": [len(buffer.content) for buffer in streams.all],
        },
        *(buffer.content for buffer in streams.all),
    )
    streams.clear()


def _be_child(
    ends: tuple[int, int, int], names: dict[str, Any], confined: Confinement, limits: Limits, *, worker: int
) -> NoReturn:
    """Read the request, give everything up, and become the program."""
    report = ends[2]
    try:
        confinement.die_with(worker)
        request = json.loads(frames.receive(REQUESTS)[1])
        function = request["function"]
        given = "" if function is not None else request["input"]
        confined.enter(given.encode(errors="surrogatepass"), ends, limits)
        report = confinement.REPORT
        os.write(report, CONFINED)
    except BaseException as error:
        os.write(report, BROKEN + f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    if function is None:
        program.be_script(request["program"], names)
    program.be_function(
        request["program"], names, function=function, arguments=request["input"], nonce=request["nonce"].encode()
    )


def _preload(numpy_folder: str | None) -> dict[str, Any]:
    """Import what programs often do, and give the names that they find defined."""
    import _sitebuiltins
    import builtins

    exec(_PRELOADED, {})
    names: dict[str, Any] = {}
    exec(_PRELUDE, names)
    for name in ("exit", "quit"):  # the module `site` would have made them
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    if numpy_folder is not None:
        sys.path.append(numpy_folder)
        with suppress(ImportError):
            exec(_NUMPY, names)
            names["np"].random.seed(0)
    sys.set_int_max_str_digits(0)  # tests of APPS hold longer numbers
    random.seed(0)
    for name in ("__builtins__", "numpy"):
        names.pop(name, None)
    return names


def _wait_for_request() -> bool:
    """Wait; False when the trainer has gone."""
    poll = select.poll()
    poll.register(REQUESTS, select.POLLIN)
    ((_, event),) = poll.poll()
    return bool(event & select.POLLIN)


def _sweep() -> None:
    """If this is the first process of a namespace of its own: end whatever is left in it."""
    if os.getpid() != 1:
        return
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
