"""Programs that read, write or change files, directly or by way of odd system calls."""

from tests.sandbox.attacks.attack import script

_READ = [
    script("read a secret file", "print(open(T['folder'] + '/secret').read())"),
    script("read a public file", "print(open(T['folder'] + '/public').read())"),
    script("list a folder", "print(os.listdir(T['folder']))"),
    script("read the shadow file", "print(open('/etc/shadow').read())"),
    script("read the users", "print(open('/etc/passwd').read())"),
    script("list the root", "print(os.listdir('/'))"),
    script("read its own environment", "print(open('/proc/self/environ').read())"),
    script("read the trainer's environment", "print(open(f'/proc/{T[\"trainer\"]}/environ').read())"),
    script("read the trainer's command", "print(open(f'/proc/{T[\"trainer\"]}/cmdline').read())"),
    script("read the trainer's memory", "print(open(f'/proc/{T[\"trainer\"]}/mem', 'rb'))"),
    script("read the worker's memory", "print(open(f'/proc/{os.getppid()}/mem', 'rb'))"),
    script("read its own memory file", "print(open('/proc/self/mem', 'rb'))"),
    script("read its own memory map", "print(open('/proc/self/maps', 'rb').read())"),
    script("ask where the trainer works", "print(os.readlink(f'/proc/{T[\"trainer\"]}/cwd'))"),
    script("ask what the trainer has open", "print(os.listdir(f'/proc/{T[\"trainer\"]}/fd'))"),
    script("import a module from outside", "sys.path.insert(0, T['folder']); import module"),
    script("read through a path descriptor", "d = os.open(T['folder'] + '/secret', os.O_PATH); os.read(d, 1)"),
    script("open a folder and go from there", "d = os.open(T['folder'], os.O_RDONLY); print(os.listdir(d))"),
    script("map a file", "import mmap\nmmap.mmap(os.open(T['folder'] + '/public', 0), 0, prot=1)"),
    script(
        "read by handle",
        "libc.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]; "
        "must(libc.open_by_handle_at(-100, bytes(64), 0))",
    ),
    script(
        "name a handle",
        "n = ctypes.create_string_buffer(b'\\x08' + bytes(140)); "
        "must(libc.name_to_handle_at(-100, T['folder'].encode(), n, ctypes.byref(ctypes.c_int()), 0))",
    ),
    script("read an attribute", "print(os.getxattr(T['folder'] + '/public', 'user.note'))"),
    script("read the kernel's log", "print(must(libc.klogctl(3, ctypes.create_string_buffer(99), 99)))"),
    script("read a terminal", "print(open('/dev/tty').read())"),
    script("read physical memory", "print(open('/dev/mem', 'rb').read(1))"),
]

_WRITE = [
    script("write a new file", "open(T['folder'] + '/' + T['mark'], 'w')"),
    script("write into /tmp", "open('/tmp/' + T['mark'], 'w')"),
    script("write into shared memory", "open('/dev/shm/' + T['mark'], 'w')"),
    script("write where it is", "open(T['mark'], 'w')"),
    script("write over a file", "open(T['folder'] + '/public', 'w')"),
    script("append to a file", "open(T['folder'] + '/public', 'a')"),
    script("open a file for both", "open(T['folder'] + '/public', 'r+')"),
    script("write a library", "open(os.__file__, 'a')"),
    script(
        "write compiled code",
        "import py_compile; py_compile.compile(os.__file__, doraise=True, cfile=os.__file__ + T['mark'])",
    ),
    script("use a temporary file", "import tempfile; tempfile.TemporaryFile()"),
    script("make a nameless file", "os.open(T['folder'], os.O_TMPFILE | os.O_RDWR)"),
    script("make a nameless file for reading", "os.open(T['folder'], 0o20200000)"),
    script("make a file with odd flags", "os.open(T['folder'] + '/' + T['mark'], os.O_CREAT | os.O_EXCL)"),
    script("truncate by opening", "os.open(T['folder'] + '/public', os.O_TRUNC)"),
    script("creat", "must(libc.creat((T['folder'] + '/' + T['mark']).encode(), 0o600))"),
    script(
        "openat2",
        "how = (ctypes.c_uint64 * 3)(0o102, 0o600, 0)\n"
        "syscall(437, -100, (T['folder'] + '/' + T['mark']).encode(), how, 24)",
    ),
    script("truncate", "os.truncate(T['folder'] + '/public', 0)"),
    script("make a folder", "os.mkdir(T['folder'] + '/' + T['mark'])"),
    script("remove", "os.remove(T['folder'] + '/public')"),
    script("remove a folder", "os.rmdir(T['folder'] + '/empty')"),
    script("rename", "os.rename(T['folder'] + '/public', T['folder'] + '/' + T['mark'])"),
    script(
        "exchange two files",
        "f = T['folder'].encode()\nsyscall(by_machine(316, 276), -100, f + b'/public', -100, f + b'/secret', 2)",
    ),
    script("link", "os.link(T['folder'] + '/public', T['folder'] + '/' + T['mark'])"),
    script("link to the root", "os.symlink('/', T['folder'] + '/' + T['mark'])"),
    script("link in /tmp", "os.symlink('/', '/tmp/' + T['mark'])"),
    script("make a device", "os.mknod(T['folder'] + '/' + T['mark'], 0o60600, os.makedev(254, 0))"),
    script("make a named pipe", "os.mkfifo(T['folder'] + '/' + T['mark'])"),
    script("change rights", "os.chmod(T['folder'] + '/public', 0o777)"),
    script("change rights anew", "syscall(452, -100, (T['folder'] + '/public').encode(), 0o777, 0)"),
    script("change the owner", "os.chown(T['folder'] + '/public', 1, 1)"),
    script("change times", "os.utime(T['folder'] + '/public', (0, 0))"),
    script("set an attribute", "os.setxattr(T['folder'] + '/public', 'user.note', b'1')"),
    script("remove an attribute", "os.removexattr(T['folder'] + '/public', 'user.note')"),
    script("copy a file", "import shutil; shutil.copy(T['folder'] + '/public', '/tmp/' + T['mark'])"),
    script("copy between files", "syscall(by_machine(326, 285), 0, 0, 1, 0, 9, 0)"),
    script("allocate blocks", "os.posix_fallocate(0, 0, 2**20)"),
    script("grow standard input", "os.ftruncate(0, 2**30)"),
    script("lock a file", "import fcntl; fcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX)"),
    script("lock a record", "import fcntl; fcntl.lockf(0, fcntl.LOCK_EX)"),
    script("lease a file", "import fcntl; fcntl.fcntl(os.open(os.__file__, 0), 1024, 0)"),
    script("watch a folder by signal", "import fcntl; fcntl.fcntl(os.open(os.path.dirname(os.__file__), 0), 1026, 1)"),
    script("watch a folder", "must(libc.inotify_init1(0))"),
    script("watch a file system", "must(libc.fanotify_init(0, 0))"),
    script("make a file in memory", "os.memfd_create('note')"),
    script("make a secret file in memory", "syscall(447, 0)"),
    script("change the folder", "os.chdir('/usr')"),
    script("change the root", "os.chroot('/usr')"),
]

# The first descriptors are its own; of the rest none may be open.
_DESCRIPTORS = [
    script(
        "write to descriptors that it inherited",
        "reached = 0\nfor d in range(3, 1024):\n  try: os.fstat(d); reached += 1\n  except OSError: pass\n"
        "if not reached: raise OSError",
    ),
    script("read standard output", "os.read(1, 1)"),
    script("read standard error", "os.read(2, 1)"),
    script("make its pipe larger", "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)"),
]

FILES = [*_READ, *_WRITE, *_DESCRIPTORS]
