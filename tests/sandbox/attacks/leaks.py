"""Programs that search for what they must not know, and print all they find; each secret begins alike."""

from tests.sandbox.attacks.attack import ERROR, WRONG, Attack, bare, call

# Without the map of its memory: pages around what it knows the address of, each tried by letting the kernel read it.
MEMORY = """
import ctypes, gc, os, re, sys

_libc = ctypes.CDLL(None)
_pipe = os.pipe()
def _mapped(page):
    if _libc.write(_pipe[1], ctypes.c_void_p(page), ctypes.c_size_t(1)) != 1: return False
    os.read(_pipe[0], 1)
    return True

def memory():
    known = {id(each) for each in gc.get_objects()} | {id(each) for each in sys.modules.values()}
    known |= {ctypes.cast(getattr(_libc, n), ctypes.c_void_p).value for n in ("malloc", "environ", "stdin")}
    known |= {ctypes.addressof(ctypes.create_string_buffer(2**n)) for n in range(5, 25)}
    seen = set()
    for page in sorted({each & ~4095 for each in known}):
        if page in seen: continue
        first = last = page
        while _mapped(last) and last not in seen: seen.add(last); last += 4096
        while _mapped(first - 4096) and first - 4096 not in seen: first -= 4096; seen.add(first)
        if last > first: yield ctypes.string_at(first, last - first)

def search(start):
    pattern = re.compile(start[:4].encode() + start[4:].encode() + b"[0-9a-f]{32}")
    return {each for area in memory() for each in pattern.findall(area)}
"""

FRAMES = """
import gc, re, sys
seen, found, todo = set(), set(), [sys._getframe(), sys.modules, *gc.get_objects()]
while todo:
    each = todo.pop()
    if id(each) in seen: continue
    seen.add(id(each))
    if isinstance(each, (str, bytes)):
        found.update(re.findall("marlhf-secret-[0-9a-f]{32}", str(each)))
    else:
        try: todo += gc.get_referents(each)
        except Exception: pass
print(*found)
"""

LEAKS = [
    bare("print the environment", "import os; print(os.environ, os.environb)", WRONG),
    bare(
        "print the environment of C",
        "import ctypes\ne = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\n"
        "i = 0\nwhile e[i]: print(e[i]); i += 1",
        WRONG,
    ),
    bare("print how it was started", "import sys; print(sys.argv, sys.orig_argv, sys.flags, sys.path)", WRONG),
    bare("walk frames and all objects", FRAMES, WRONG),
    call("walk frames and all objects in a function", f"def f(t):\n  exec({FRAMES!r}, {{}})\n  return 0", WRONG),
    bare(
        "print the variables of its callers",
        "import sys\nf = sys._getframe()\nwhile f: print(f.f_locals, f.f_globals); f = f.f_back",
        WRONG,
    ),
    bare("search its memory", MEMORY + "print(*search('marlhf-secret-'))", WRONG),
    bare(
        "read more of its input",
        "import os, sys\nprint(sys.stdin.read()); os.lseek(0, 0, 0); print(os.read(0, 9999), os.pread(0, 9999, 0))",
        WRONG,
    ),
    bare("wait for a second test", "import time\nwhile True: print(input())", ERROR),
    bare("look for a judge among the modules", "import sys\nsys.modules['lightning_marlhf.sandbox.comparison']", ERROR),
    bare("import the judge", "import lightning_marlhf.sandbox.comparison", ERROR),
    bare("import the installed packages", "import torch", ERROR),
]


def note(where: str) -> Attack:
    """Write a program that leaves a note; it must not hold it in one piece itself."""
    making = "import os, sys\nnote = 'marlhf-' + 'note-' + input()\n"
    return bare("leave a note in " + where, making + _NOTES[where], WRONG, ERROR)


_NOTES = {
    "standard output": "print(note)",
    "much standard output": "print(note * 9000)",
    "standard error": "print(note, file=sys.stderr, flush=True)",
    "much standard error": "for _ in range(9): os.write(2, note.encode() * 2**11)",
    "an exception": "raise Exception(note)",
    "a module": "import json, builtins\njson.note = builtins.note = os.environ['note'] = note",
}
NOTES = [note(where) for where in _NOTES]
READ_NOTES = (
    MEMORY
    + "import builtins, json\n"
    + "print(hasattr(json, 'note'), hasattr(builtins, 'note'), 'note' in os.environ)\n"
    + "print(len(search('marlhf-note-')))"
)
