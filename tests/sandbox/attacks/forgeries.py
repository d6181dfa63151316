"""Programs that claim success: by their exit, by objects that lie, by forged reports; and reports that shall hurt the
trainer, which reads them.
"""

from tests.sandbox.attacks.attack import ERROR, OUTPUT, TIME, WRONG, Attack, bare, call

# Its answer begins with a number that it can find in the frames of its callers.
_FORGE = """
import os, sys
def forge(content):
    frame = sys._getframe()
    while "nonce" not in frame.f_locals: frame = frame.f_back
    content = frame.f_locals["nonce"] + content
    while content: content = content[os.write(3, content):]
    os._exit(0)
"""


def _forged(name: str, content: str, *right: object) -> Attack:
    return call(name, _FORGE + f"def f(t): forge({content})", *(right or {WRONG}))


_EXITS = [
    bare("exit with status 0", "import os; os._exit(0)", WRONG),
    call("exit with status 0 when it is called", "import os\ndef f(t): os._exit(0)", ERROR),
    call("exit before it is called", "import os\nos._exit(0)\ndef f(t): pass", ERROR),
    call("exit politely when it is called", "def f(t): exit()", ERROR),
    bare("say that it passed", "print('passed', 'PASSED', True, 1.0, sep='\\n'); raise SystemExit(0)", WRONG),
    bare("print nothing", "", WRONG),
    call("return nothing", "def f(t): pass", WRONG),
]

_LIARS = [
    call("return something equal to all", "class A:\n  def __eq__(s, o): return True\ndef f(t): return A()", ERROR),
    call(
        "return a text equal to all",
        "class A(str):\n  def __eq__(s, o): return True\n  __hash__ = str.__hash__\ndef f(t): return A('x')",
        WRONG,
    ),
    call(
        "return a number equal to all",
        "class A(int):\n  def __eq__(s, o): return True\n  def __repr__(s): return 'true'\ndef f(t): return A()",
        WRONG,
    ),
    call(
        "return a list equal to all",
        "class A(list):\n  def __eq__(s, o): return True\n  def __len__(s): return 1\ndef f(t): return A()",
        WRONG,
    ),
    call(
        "return a dictionary equal to all",
        "class A(dict):\n  def __eq__(s, o): return True\n  def items(s): return [('a', 1)]\ndef f(t): return A(b=2)",
        WRONG,
    ),
    call("return an object of a false class", "class A:\n  __class__ = str\ndef f(t): return A()", ERROR),
    call(
        "return an object that passes for an array", "class A:\n  def tolist(s): return s\ndef f(t): return A()", ERROR
    ),
    call(
        "return an array of arrays without end", "class A:\n  def tolist(s): return [A()]\ndef f(t): return A()", ERROR
    ),
    call("return NaN", "def f(t): return float('nan')", WRONG),
    call("return infinity", "def f(t): return [float('inf'), -float('inf')]", WRONG),
    call("return a set", "def f(t): return {1}", ERROR),
    call("return a function", "def f(t): return f", ERROR),
    call("return what contains itself", "def f(t):\n  x = []; x.append(x); return x", ERROR),
    call("return what is nested deeply", "def f(t):\n  x = []\n  for _ in range(10**5): x = [x]\n  return x", ERROR),
    call("return a number of a million digits", "def f(t): return 7 * 10**(10**6 - 99)", WRONG, TIME),
    call("return half a surrogate", "def f(t): return chr(0xD800)", WRONG),
    call("return keys of many kinds", "def f(t): return {1: 1, '1': 2, None: 3, True: 4, 1.5: 5}", WRONG),
    call("return a key that is no key", "def f(t): return {(1, 2): 3}", ERROR),
    call("return all numbers for ever", "import itertools\ndef f(t): return itertools.count()", ERROR),
]

_PATCHES = [
    bare("patch print", "import builtins\nbuiltins.print = lambda *a: True\nprint('x')", WRONG),
    bare(
        "patch comparison",
        "import operator, builtins\noperator.eq = lambda a, b: True\nbuiltins.all = builtins.any = lambda a: True",
        WRONG,
    ),
    bare("patch exits", "import os, sys\nos._exit = sys.exit = os.kill = os.wait4 = lambda *a: None", ERROR),
    call("patch JSON", "import json\njson.dumps = lambda *a, **k: 'true'\ndef f(t): return 1", WRONG),
    call("patch JSON's reader", "import json\njson.loads = lambda *a, **k: True\ndef f(t): return 1", WRONG),
    call(
        "patch the judge",
        "import sys\nfor m in list(sys.modules.values()):\n  for n in list(vars(m)):\n"
        "    if 'match' in n or 'equal' in n: setattr(m, n, lambda *a, **k: True)\ndef f(t): return 1",
        WRONG,
    ),
    call(
        "patch what reports",
        "import sys\nm = sys.modules['lightning_marlhf.sandbox.inside.program']\n"
        "m._end = lambda *a: m.os._exit(0)\nm._write_all = lambda c: None\ndef f(t): return 1",
        ERROR,
    ),
]

_REPORTS = [
    call("write to the report before", "import os\nos.write(3, b'true')\ndef f(t): return True", ERROR),
    call("write to the report and leave", "import os\ndef f(t): os.write(3, b'true'); os._exit(0)", ERROR),
    call("close the report", "import os\nos.close(3)\ndef f(t): return True", ERROR),
    call("claim that it did not compile", "import os\ndef f(t): os.write(3, b'C'); os._exit(0)", ERROR),
    call("claim that the sandbox failed", "import os\ndef f(t): os.write(3, b'E'); os._exit(1)", ERROR),
    bare("write to a report that is closed", "import os\nos.write(3, b'true')", ERROR),
    _forged("forge an answer", "b'true'"),
    _forged("forge an empty answer", "b''"),
    _forged("forge two answers", "b'true true'"),
    _forged("forge no JSON", "b'passed'"),
    _forged("forge what is no text", "bytes(range(256))"),
    _forged("forge NUL", "bytes(9)"),
    _forged("forge a mark of byte order", "b'\\xef\\xbb\\xbftrue'"),
    _forged("forge UTF-16", "'true'.encode('utf-16')"),
    _forged("forge lists, nested deeply", "b'[' * 10**5 + b']' * 10**5"),
    _forged("forge lists that never end", "b'[' * 990_000"),
    _forged("forge dictionaries, nested deeply", "b'{\"a\":' * 10**5"),
    _forged("forge many digits", "b'7' * 990_000"),
    _forged("forge a number with many digits", "b'7.' + b'7' * 990_000"),
    _forged("forge a number with a huge exponent", "b'1e' + b'9' * 990_000"),
    _forged("forge a list of numbers with huge exponents", "b'[' + b'1e999999999,' * 80_000 + b'1]'"),
    _forged("forge NaN", "b'[NaN, Infinity, -Infinity]'"),
    _forged("forge a key twice", 'b\'{"a": 1, "a": 2}\''),
    _forged("forge many keys", "b'{' + b','.join(b'\"%d\": 0' % i for i in range(80_000)) + b'}'"),
    _forged("forge a long text of escapes", "b'\"' + b'\\\\u0000' * 160_000 + b'\"'"),
    _forged("forge half surrogates", "b'\"' + b'\\\\ud800' * 160_000 + b'\"'"),
    _forged("forge too much", "b'1' * 10**7", OUTPUT),
]

FORGERIES = [*_EXITS, *_LIARS, *_PATCHES, *_REPORTS]
