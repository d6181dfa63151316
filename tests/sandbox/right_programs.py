"""Programs that are right, in all the ways in which people write them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Right:
    """A program, what it gets, and what it must give."""

    name: str
    program: str
    given: Any
    expected: Any
    function: str | None = None


_FAST_INPUT = """
import os, sys
from io import BytesIO, IOBase

class FastIO(IOBase):
    newlines = 0

    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
        self.write = self.buffer.write if self.writable else None

    def read(self):
        while True:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
            if not b:
                break
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines = 0
        return self.buffer.read()

    def readline(self):
        while self.newlines == 0:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
            self.newlines = b.count(b"\\n") + (not b)
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        self.newlines -= 1
        return self.buffer.readline()

    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)

class IOWrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode("ascii"))
        self.read = lambda: self.buffer.read().decode("ascii")
        self.readline = lambda: self.buffer.readline().decode("ascii")

sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip("\\r\\n")
print(sum(int(input()) for _ in range(2)))
"""
_DEEP = """
import sys, threading
sys.setrecursionlimit(10**6)
def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)
def main():
    print(depth(int(input())))
"""
_IN_THREAD = """
threading.stack_size(2**26)
thread = threading.Thread(target=main)
thread.start()
"""
_CACHED = """
import sys
from functools import lru_cache
sys.setrecursionlimit(10**6)
@lru_cache(None)
def f(n): return n and 1 + f(n - 1)
print(f(int(input())))
"""
_BOOTSTRAP = """
from types import GeneratorType
def bootstrap(f, stack=[]):
    def wrapped(*args):
        if stack: return f(*args)
        to = f(*args)
        while True:
            if type(to) is GeneratorType:
                stack.append(to); to = next(to)
            else:
                stack.pop()
                if not stack: return to
                to = stack[-1].send(to)
    return wrapped
@bootstrap
def f(n):
    if n == 0: yield 0
    yield 1 + (yield f(n - 1))
print(f(int(input())))
"""
_SUM = "a, b = map(int, input().split())\n"

SCRIPTS = [
    Right("prints", _SUM + "print(a + b)", "1 2\n", "3\n"),
    Right("prints without an end of line", _SUM + "print(a + b, end='')", "1 2", "3"),
    Right("reads without an end of line", "print(input() + '|')", "x", "x|"),
    Right("exits by exit()", _SUM + "print(a + b); exit(); print('no')", "1 2", "3"),
    Right("exits by quit()", _SUM + "print(a + b); quit()", "1 2", "3"),
    Right("exits by sys.exit()", _SUM + "import sys\nprint(a + b); sys.exit()", "1 2", "3"),
    Right("exits by sys.exit(0)", _SUM + "from sys import exit\nprint(a + b); exit(0)", "1 2", "3"),
    Right("exits by os._exit(0)", _SUM + "import os\nprint(a + b, flush=True); os._exit(0)", "1 2", "3"),
    Right("raises SystemExit", _SUM + "print(a + b)\nraise SystemExit", "1 2", "3"),
    Right("returns at the top level", _SUM + "if a < b:\n  print(a + b)\n  return\nprint('no')", "1 2", "3"),
    Right(
        "returns a value at the top level",
        _SUM + "def f(x): return x\nfor _ in range(9):\n  print(f(a + b))\n  return 7",
        "1 2",
        "3",
    ),
    Right("guards main", _SUM + "def main(): print(a + b)\nif __name__ == '__main__': main()", "1 2", "3"),
    Right("guards main with another sign", "if __name__ != '__main__': raise Exception\nprint(3)", "", "3"),
    Right("reads bytes", "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", "1\n2\n", "3"),
    Right(
        "reads lines of bytes",
        "import sys\ninput = sys.stdin.buffer.readline\nprint(int(input()) + int(input()))",
        "1\n2\n",
        "3",
    ),
    Right("opens descriptor 0", "print(sum(map(int, open(0).read().split())))", "1\n2\n", "3"),
    Right(
        "reads descriptor 0",
        "import os, io\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\nprint(int(input()) + 2)",
        "1\n",
        "3",
    ),
    Right("maps descriptor 0", "import mmap\nprint(len(mmap.mmap(0, 0, prot=mmap.PROT_READ).read()))", "1\n2\n", "4"),
    Right("goes through lines", "import sys\nprint(sum(int(line) for line in sys.stdin))", "1\n2\n", "3"),
    Right("reads by fileinput", "import fileinput\nprint(sum(int(line) for line in fileinput.input()))", "1\n2\n", "3"),
    Right(
        "mixes input and readline",
        "import sys\na = input(); b = sys.stdin.readline(); c = input(); "
        "print(int(a) + int(b) + int(c), sys.stdin.read())",
        "1\n2\n3\n4",
        "6 4",
    ),
    Right(
        "reads until the end", "n = 0\ntry:\n  while True: n += int(input())\nexcept EOFError: print(n)", "1\n2", "3"
    ),
    Right(
        "reads until a line is empty",
        "import sys\nn = 0\nwhile True:\n  line = sys.stdin.readline()\n  if not line: break\n"
        "  n += int(line)\nprint(n)",
        "1\n2",
        "3",
    ),
    Right("reads nothing", "print(3)", "1\n" * 10**5, "3"),
    Right("reads much", "print(sum(int(input()) for _ in range(10**5)))", "1\n" * 10**5, "100000"),
    Right(
        "replaces input",
        "import sys\ninput = lambda: sys.stdin.readline().strip()\nprint(int(input()) + 2)",
        "1\n",
        "3",
    ),
    Right("replaces print", "import sys\nprint = sys.stdout.write\nprint(input() + '\\n')", "3", "3"),
    Right("reads fast, by a known template", _FAST_INPUT, "1\n2\n", "3"),
    Right(
        "wraps descriptor 0 again",
        "import io, sys\nsys.stdin = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8')\nprint(input())",
        "é",
        "é",
    ),
    Right(
        "wraps descriptor 1 again",
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8')\nprint('é')",
        "",
        "é",
    ),
    Right(
        "encodes its output",
        "import codecs, sys\nsys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer)\nprint('é')",
        "",
        "é",
    ),
    Right("configures its output", "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint(3)", "", "3"),
    Right("opens descriptor 1 and leaves it open", "out = open(1, 'w')\nout.write('3')", "", "3"),
    Right(
        "collects its output",
        "import io, sys\nout = io.StringIO()\nold, sys.stdout = sys.stdout, out\nprint(3)\n"
        "sys.stdout = old\nprint(out.getvalue())",
        "",
        "3",
    ),
    Right(
        "redirects its output",
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out: print(3)\nprint(out.getvalue())",
        "",
        "3",
    ),
    Right("writes bytes", "import sys\nsys.stdout.buffer.write(b'3')", "", "3"),
    Right(
        "writes bytes after text", "import sys\nprint(3)\nsys.stdout.flush()\nsys.stdout.buffer.write(b'4')", "", "3\n4"
    ),
    Right("writes by os.write", "import os\nos.write(1, b'3')", "", "3"),
    Right("writes a little less than it may", "print('7' * 900_000)", "", "7" * 900_000),
    Right("writes when it exits", "import atexit\natexit.register(print, 3)", "", "3"),
    Right(
        "writes all at exit",
        "import atexit, io, sys\nout = io.BytesIO()\n"
        "atexit.register(lambda: sys.__stdout__.buffer.write(out.getvalue()))\nout.write(b'3')",
        "",
        "3",
    ),
    Right("closes standard output", "import sys\nprint(3)\nsys.stdout.close()", "", "3"),
    Right("closes standard input", "import sys\nprint(input())\nsys.stdin.close()", "3", "3"),
    Right("closes descriptors", "import os\nprint(3, flush=True)\nos.close(0); os.close(1)", "", "3"),
    Right("takes standard output away", "import sys\nprint(3, flush=True)\nsys.stdout = None", "", "3"),
    Right("complains and goes on", "import sys\nprint('debug', file=sys.stderr)\nprint(3)", "", "3"),
    Right("complains without an end of line", "import sys\nsys.stderr.write('debug')\nprint(3)", "", "3"),
    Right(
        "silences its complaints",
        "import os, sys\nsys.stderr = open(os.devnull, 'w')\nprint(1, file=sys.stderr)\nprint(3)",
        "",
        "3",
    ),
    Right(
        "throws output away",
        "import contextlib, os, pathlib\nwith open('/dev/null', 'w') as out, contextlib.redirect_stdout(out):\n"
        "  print(1)\npathlib.Path(os.devnull).write_bytes(b'2' * 2_000_000)\nprint(3)",
        "",
        "3",
    ),
    Right(
        "silences a descriptor",
        "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 2)\nos.write(2, b'x')\nprint(3)",
        "",
        "3",
    ),
    Right("reads the null device", "print(open('/dev/null').read() == '')", "", "True"),
    Right("reads its input by a path", "print(sum(map(int, open('/dev/stdin').read().split())))", "1\n2\n", "3"),
    Right(
        "opens its streams by their paths",
        "import os, sys\nsys.stdin = open('/dev/stdin')\nn = int(input())\nwith open('/dev/stderr', 'w') as f:\n"
        "  f.write('x')\nwith open('/dev/stdout', 'w') as f:\n  print(n, file=f)\n"
        "os.write(os.open('/dev/stdout', os.O_WRONLY), b'4\\n')\nprint(5)",
        "3",
        "3\n4\n5",
    ),
    Right(
        "runs an event loop",
        "import asyncio, sys\nasync def main():\n  await asyncio.sleep(0.001)\n"
        "  return sum(map(int, sys.stdin.read().split()))\nprint(asyncio.run(main()))",
        "1 2",
        "3",
    ),
    Right(
        "wakes an event loop from a thread",
        "import asyncio\nasync def main():\n  loop = asyncio.get_running_loop()\n"
        "  print(await loop.run_in_executor(None, lambda: 3), *await asyncio.gather(asyncio.sleep(0, 4)))\n"
        "asyncio.run(main())",
        "",
        "3 4",
    ),
    Right("begins with a byte-order mark", "\ufeffprint(3)", "", "3"),
    Right(
        "uses names that LeetCode brings along",
        "@cache\ndef f(n: Optional[int]) -> Dict: return n and f(n - 1) + 1\nprint(f(3), bisect_left([1, 2], 2))",
        "",
        "3 1",
    ),
    Right("warns", "import warnings\nwarnings.warn('old')\nprint(3)", "", "3"),
    Right("has an odd escape", "print('\\d' == '\\\\d')", "", "True"),
    Right("catches an exception", "try: 1 / 0\nexcept ZeroDivisionError: print(3)", "", "3"),
    Right("catches the lack of memory", "try: 'a' * 10**10\nexcept MemoryError: print(3)", "", "3"),
    Right("catches deep recursion", "def f(): f()\ntry: f()\nexcept RecursionError: print(3)", "", "3"),
    Right("uses the whole of the usual recursion", "def f(n): return n and f(n - 1)\nprint(f(990))", "", "0"),
    Right("counts by a global", "n = 0\ndef f():\n  global n\n  n += 1\nfor _ in range(3): f()\nprint(n)", "", "3"),
    Right("imports all late", "x = 9\nfrom math import *\nprint(int(sqrt(x)))", "", "3"),
    Right(
        "imports all of collections", "from collections import *\nprint(Counter('aab')['a'], deque([1])[0])", "", "2 1"
    ),
    Right("imports under a condition", "if 1: import heapq\nh = []\nheapq.heappush(h, 3)\nprint(h[0])", "", "3"),
    Right(
        "imports what is seldom used",
        "import bisect, cmath, colorsys, difflib, graphlib, sched, tokenize\nprint(3)",
        "",
        "3",
    ),
    Right(
        "uses names that the tests bring along",
        "print(Counter('aa')['a'], gcd(4, 6), list(accumulate([1, 2])), List)",
        "",
        "2 2 [1, 3] typing.List",
    ),
    Right("hides names that the tests bring along", "gcd = lambda a, b: 7\nprint(gcd(4, 6))", "", "7"),
    Right(
        "makes a data class",
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n  x: int\nprint(max(P(1), P(3)).x)",
        "",
        "3",
    ),
    Right(
        "makes a named tuple",
        "from typing import NamedTuple\nclass P(NamedTuple):\n  x: int = 3\nprint(P().x)",
        "",
        "3",
    ),
    Right("makes an enumeration", "from enum import Enum\nE = Enum('E', 'a b')\nprint(E.b.value)", "", "2"),
    Right("decorates", "def twice(f): return lambda x: f(f(x))\n@twice\ndef f(x): return x + 1\nprint(f(1))", "", "3"),
    Right(
        "defers annotations",
        "from __future__ import annotations\ndef f(x: Nothing) -> Nothing: return x\nprint(f(3))",
        "",
        "3",
    ),
    Right("declares an encoding", "# -*- coding: utf-8 -*-\nprint('é')", "", "é"),
    Right("ends lines as Windows does", "for i in [3]:\r\n    print(i)\r\n", "", "3"),
    Right("computes ten thousand digits", "print(int(input()) + 1)", "7" * 9_999 + "8", "7" * 9_999 + "9"),
    Right("reads and writes Unicode", "s = input()\nprint(s[::-1], len(s))", "añ😀日", "日😀ña 4"),
    Right(
        "draws the same as ever",
        "import random\nx = random.random()\nrandom.seed(0)\nprint(x == random.random())",
        "",
        "True",
    ),
    Right(
        "tells the time",
        "import time\nt = time.time(); time.sleep(0.01)\nprint(time.time() > t, time.perf_counter() > 0)",
        "",
        "True True",
    ),
    Right(
        "sets a timer",
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print(3))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
        "",
        "3",
    ),
    Right("recurses 50,000 deep", _DEEP + "main()", "50000", "50000"),
    Right("recurses 50,000 deep in a thread", _DEEP + _IN_THREAD, "50000", "50000"),
    Right("joins a deep thread", _DEEP + _IN_THREAD + "thread.join()", "50000", "50000"),
    Right("recurses deeply through a cache", _CACHED, "20000", "20000"),
    Right("recurses by generators", _BOOTSTRAP, "20000", "20000"),
    Right(
        "does not join its thread",
        "import threading, time\ndef f(): time.sleep(0.05); print(3)\nthreading.Thread(target=f).start()",
        "",
        "3",
    ),
    Right(
        "uses a pool of threads",
        "from concurrent.futures import ThreadPoolExecutor as P\nwith P(4) as p: print(sum(p.map(int, '12')))",
        "",
        "3",
    ),
    Right("waits for coroutines", "import asyncio\nprint(3)", "", "3"),
    Right("looks at its arguments", "import sys\nprint(len(sys.argv))", "", "1"),
    Right(
        "computes with numbers of all kinds",
        "from decimal import Decimal as D\nfrom fractions import Fraction as F\n"
        "print(D('0.1') + D('0.2'), F(1, 2) + F(1, 3), (1j * 1j).real)",
        "",
        "0.3 5/6 -1.0",
    ),
    Right("executes text", "exec(input())", "print(3)", "3"),
    Right("reads its own name", "import sys\nprint(sys.modules['__main__'].x if (x := 3) else 0)", "", "3"),
    Right("uses much memory", "x = bytearray(200 << 20)\nprint(len(x) >> 20)", "", "200"),
]

NUMPY = [
    Right("uses numpy", "import numpy\nprint(numpy.arange(3).sum())", "", "3"),
    Right(
        "uses numpy without importing it",
        "print(np.linalg.det(np.eye(2)), (np.ones((64, 64)) @ np.ones(64)).sum())",
        "",
        "1.0 4096.0",
    ),
    Right(
        "reads with numpy",
        "import numpy as np, sys\nprint(np.array(sys.stdin.read().split(), np.int64).sum())",
        "1 2",
        "3",
    ),
    Right(
        "draws with numpy the same as ever",
        "import numpy as np\nx = np.random.rand()\nnp.random.seed(0)\nprint(x == np.random.rand())",
        "",
        "True",
    ),
    Right("returns numbers of numpy", "import numpy as np\ndef f(n): return np.arange(n).sum()", [3], 3, "f"),
    Right("returns an array of numpy", "import numpy as np\ndef f(n): return np.arange(n)", [3], [0, 1, 2], "f"),
]

CALLS = [
    Right("is a function", "def f(a, b): return a + b", [1, 2], 3, "f"),
    Right("is a method", "class Solution:\n  def f(self, a: List[int]) -> int: return sum(a)", [[1, 2]], 3, "f"),
    Right(
        "is a method with a state",
        "class Solution:\n  def __init__(self): self.n = 1\n  def f(self, a): return self.n + a",
        [2],
        3,
        "f",
    ),
    Right("is a static method", "class Solution:\n  @staticmethod\n  def f(a): return a + 1", [2], 3, "f"),
    Right("is a lambda", "f = lambda a: a + 1", [2], 3, "f"),
    Right("is a class", "class f(int): pass", [3], 3, "f"),
    Right("takes nothing", "def f(): return 3", [], 3, "f"),
    Right("has an expected value as the one item of a list", "def f(): return 3", [], [3], "f"),
    Right("returns a tuple", "def f(): return 1, (2, 3)", [], [1, [2, 3]], "f"),
    Right("returns nothing", "def f(): pass", [], None, "f"),
    Right("returns a decision", "def f(): return True", [], True, "f"),
    Right("returns a decimal number", "def f(): return 0.1 + 0.2", [], 0.3, "f"),
    Right("returns Unicode", "def f(s): return s[::-1]", ["añ😀"], "😀ña", "f"),
    Right("returns a long number", "def f(n): return n + 1", [10**4000], 10**4000 + 1, "f"),
    Right("returns a dictionary", "def f(): return {1: 2, 'a': None}", [], {"1": 2, "a": None}, "f"),
    Right("returns an ordered dictionary", "def f(): return OrderedDict(a=1)", [], {"a": 1}, "f"),
    Right("returns its own kind of list", "class A(list): pass\ndef f(): return A([1])", [], [[1]], "f"),
    Right("takes a dictionary with integer keys", "def f(d): return d[1] + d[2]", [{"1": 1, "2": 2}], 3, "f"),
    Right("takes a dictionary with text keys", "def f(d): return d['a']", [{"a": 3}], 3, "f"),
    Right("prints within", "def f(a):\n  print('debug', a)\n  return a", [3], 3, "f"),
    Right("prints at the top", "print('debug')\ndef f(a): return a", [3], 3, "f"),
    Right(
        "has a main guard that reads",
        "def f(a): return a\nif __name__ == '__main__': print(f(int(input())))",
        [3],
        3,
        "f",
    ),
    Right("has nothing to read", "import sys\nrest = sys.stdin.read()\ndef f(a): return a + len(rest)", [3], 3, "f"),
    Right("defines helpers later", "def f(a): return g(a)\ndef g(a): return a + 1", [2], 3, "f"),
    Right(
        "recurses deeply",
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)",
        [50_000],
        50_000,
        "f",
    ),
    Right("changes its argument", "def f(a): a.append(3); return a", [[1]], [[1, 3]], "f"),
    Right(
        "is cached",
        "from functools import lru_cache\n@lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
        [90],
        2880067194370816120,
        "f",
    ),
    Right(
        "leaves a thread behind",
        "import threading\ndef f(a):\n  threading.Thread(target=print).start()\n  return a",
        [3],
        3,
        "f",
    ),
    Right(
        "is in a program with a return at the top level",
        "def f(a): return a\nif __name__ == '__main__':\n  return",
        [3],
        3,
        "f",
    ),
]
