"""Programs that take more than they may: time, memory, output, threads; and that will not end."""

from tests.sandbox.attacks.attack import COMPILE, ERROR, MEMORY, OUTPUT, TIME, WRONG, bare, call, script

_IGNORE_SIGNALS = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
"""
_STUBBORN = """
while True:
    try:
        while True: pass
    except BaseException: pass
"""

TIME_ATTACKS = [
    bare("loop for ever", "while True: pass", TIME),
    bare("catch everything and go on", _STUBBORN, TIME),
    bare("block and ignore all signals", _IGNORE_SIGNALS + _STUBBORN, TIME),
    bare("sleep for ever", "import time\nwhile True: time.sleep(1e6)", TIME),
    bare("stop itself", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", TIME),
    bare("loop inside C", "sum(range(10**15))", TIME),
    bare("backtrack in a regular expression", "import re; re.match('(a*)*b', 'a' * 99)", TIME),
    bare("raise a number to a huge power", "x = 9 ** 9 ** 9", TIME, MEMORY),
    bare("close all descriptors and loop", "import os; os.closerange(0, 4096)\nwhile 1: pass", TIME),
    bare("loop when it exits", "import atexit\n@atexit.register\ndef f():\n  while 1: pass", TIME),
    bare("loop in a destructor", "class A:\n  def __del__(self):\n    while 1: pass\nA()\nexit(0)", TIME),
    bare(
        "leave a thread that loops",
        "import threading\ndef f():\n  while 1: pass\nthreading.Thread(target=f).start()",
        TIME,
    ),
    bare(
        "end the main thread and keep another",
        "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)",
        TIME,
        ERROR,
    ),
    bare("wait on a pipe that nobody writes to", "import os; os.read(os.pipe()[0], 1)", TIME),
    bare("wait for itself", "import threading; a = threading.Lock(); a.acquire(); a.acquire()", TIME),
    call("loop in a function", "def f(t):\n  while True: pass", TIME),
    call("loop in an answer", "class A(dict):\n  def items(s):\n    while 1: pass\ndef f(t): return A(a=1)", TIME),
]

MEMORY_ATTACKS = [
    bare("repeat a letter", "x = 'a' * 10**9\nprint(len(x))", MEMORY),
    bare("repeat a constant", "x = (1,) * 10**9", MEMORY),
    bare("grow a list", "x = [0]\nwhile True: x += x", MEMORY),
    bare(
        "unpack a bomb",
        "import zlib\nx = b''\nfor _ in range(99): x = zlib.compress(bytes(2**28)); x = zlib.decompress(x)",
        MEMORY,
        TIME,
    ),
    bare(
        "grow in a thread",
        "import threading\ndef f():\n  x = bytearray(2**40)\nt = threading.Thread(target=f); t.start(); t.join()",
        WRONG,
        MEMORY,
    ),
    bare("share memory with nobody", "import mmap\nx = [mmap.mmap(-1, 2**26) for _ in range(99)]", ERROR, MEMORY),
    bare("recurse for ever", "def f(): f()\nf()", ERROR),
    bare(
        "recurse for ever without a limit",
        "import sys; sys.setrecursionlimit(2**31 - 1)\ndef f(): f()\nf()",
        MEMORY,
        ERROR,
        TIME,
    ),
    bare(
        "recurse through C without a limit",
        "import sys; sys.setrecursionlimit(2**31 - 1)\nclass A:\n  def __repr__(s): return repr([s])\nrepr(A())",
        MEMORY,
        ERROR,
        TIME,
    ),
    bare(
        "start ever more threads",
        "import threading, time\nthreading.stack_size(2**15)\n"
        "while True: threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()",
        ERROR,
        MEMORY,
        TIME,
    ),
    bare("open ever more pipes", "import os\nwhile True: os.pipe()", ERROR),
    bare(
        "catch the lack of memory",
        "x = []\nwhile True:\n  try: x.append(bytearray(2**20))\n  except MemoryError: pass",
        TIME,
    ),
    bare("raise the limit of memory", "import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1))", ERROR),
    bare("raise the limit of time", "import resource as r; r.setrlimit(r.RLIMIT_CPU, (-1, -1))", ERROR),
    bare("raise the limit of descriptors", "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (999, 999))", ERROR),
    bare("raise the limit of files", "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (-1, -1))", ERROR),
    bare("let standard input grow", "import os\nfor _ in range(999): os.write(0, bytes(2**20))", ERROR),
    script("lock memory", "must(libc.mlock(ctypes.create_string_buffer(2**12), 2**12))"),
    script(
        "lock memory as it comes",
        "import mmap\nmmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000)",
    ),
]

OUTPUT_ATTACKS = [
    bare("print for ever", "while True: print('spam' * 100)", OUTPUT),
    bare("complain for ever", "import sys\nwhile True: sys.stderr.write('spam' * 1000)", OUTPUT),
    bare("write 10 GB to standard error", "import os\nfor _ in range(10**5): os.write(2, bytes(10**5))", OUTPUT),
    bare("fill standard output and close it", "import os\nos.write(1, b'x' * 2**15); os.close(1)", WRONG),
    bare("close standard output and loop", "import os\nos.close(1); os.close(2)\nwhile 1: pass", TIME),
    call("return 10 MB", "def f(t): return 'x' * 10**7", OUTPUT),
    call("print for ever in a function", "def f(t):\n  while True: print('spam' * 100)", OUTPUT),
    call("write to the report for ever", "import os\ndef f(t):\n  while True: os.write(3, bytes(2**16))", OUTPUT),
]

COMPILER_ATTACKS = [
    bare("nest parentheses", "(" * 10**5 + ")" * 10**5, COMPILE),
    bare("nest signs", "-" * 10**6 + "1", COMPILE),
    bare("nest attributes", "x = 1" + ".a" * 10**5, COMPILE, ERROR),
    bare("nest lists in a literal", "[" * 90 + "]" * 90 + "\n" + "x" + "[0" * 150 + "]" * 150, COMPILE, ERROR),
    bare("add many numbers", "x = 1" + "+1" * 10**5, COMPILE, WRONG),
    bare("indent deeply", "\n".join(" " * i + "if 1:" for i in range(200)), COMPILE),
    bare("write NUL", "print(1)\0print(2)", COMPILE),
    bare("write half a surrogate", "print('\ud800')", COMPILE),
    bare("write no Python", "Here is the program:\n```python\nprint(1)\n```", COMPILE),
    bare("declare an encoding that there is not", "# coding: nonsense\nprint(1)", WRONG, COMPILE),
    bare("return a syntax error from nowhere", "return (", COMPILE),
    bare("return, nested deeply", "if 1: return " + "(" * 150 + ")" * 150, COMPILE, WRONG),
    bare("write a huge literal", "x = " + "7" * 10**6, WRONG, TIME, COMPILE),
    bare("print half a surrogate", "print(chr(0xD800))", ERROR),
    bare("print bytes that are no text", "import os; os.write(1, bytes(range(256)))", WRONG),
    call("define no function", "x = 1", ERROR),
    call("define something else", "f = 1", ERROR),
]

ENDINGS = [
    bare("read address 0", "import ctypes; ctypes.string_at(0)", ERROR),
    bare("abort", "import os; os.abort()", ERROR),
    bare("kill itself", "import os; os.kill(os.getpid(), 9)", ERROR),
    bare("claim that its time is over", "import os; os.kill(os.getpid(), 24)", TIME, ERROR),
    bare(
        "exit in a thread",
        "import os, threading, time\nthreading.Thread(target=os._exit, args=(0,)).start(); time.sleep(9)",
        WRONG,
    ),
    bare("exit with a status", "exit(7)", ERROR),
    bare("exit with a message", "exit('nothing to say')", ERROR),
    bare("raise something hostile", "class E(BaseException):\n  def __str__(s): raise s\nraise E", ERROR),
    bare("exit with a hostile status", "class X(int):\n  def __bool__(s): 1/0\nraise SystemExit(X())", ERROR),
    bare("print through a hostile stream", "class S:\n  def flush(s): 1/0\nimport sys; sys.stdout = S()", ERROR),
    bare(
        "break the way out",
        "import atexit, sys, threading\natexit._run_exitfuncs = threading._shutdown = None\nsys.stdout = 1",
        ERROR,
    ),
]

RESOURCES = [*TIME_ATTACKS, *MEMORY_ATTACKS, *OUTPUT_ATTACKS, *COMPILER_ATTACKS, *ENDINGS]
