"""Programs that reach for other processes, for the network, or for the kernel."""

import platform

from tests.sandbox.attacks.attack import script

_NETWORK = [
    script("connect to a server", "import socket; socket.create_connection(('127.0.0.1', T['tcp']), timeout=1)"),
    script("connect by IPv6", "import socket; socket.socket(socket.AF_INET6)"),
    script(
        "send a datagram",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'note', ('127.0.0.1', T['udp']))",
    ),
    script("listen", "import socket; socket.create_server(('127.0.0.1', 0))"),
    script(
        "connect to a named socket", "import socket; socket.socket(socket.AF_UNIX).connect(T['folder'] + '/socket')"
    ),
    script("connect to an abstract socket", "import socket; socket.socket(socket.AF_UNIX).connect('\\0' + T['mark'])"),
    script("make two sockets", "import socket; socket.socketpair()"),
    script("read raw packets", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    script("talk to the kernel", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    script("talk to the hypervisor", "import socket; socket.socket(socket.AF_VSOCK)"),
    script("ask for a name", "import socket; print(socket.getaddrinfo('example.org', 80))"),
    script("fetch a page", "import urllib.request; urllib.request.urlopen('http://127.0.0.1')"),
]

_START = [
    script("fork", "os.fork() or os._exit(0)"),
    script("bomb by forks", "while True: os.fork()"),
    script(
        "fork twice and leave",
        "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    import time; time.sleep(99)",
    ),
    script("leave a process behind", "if os.fork() == 0:\n  import time\n  os.setsid(); time.sleep(99)"),
    script("fork as vfork", "must(libc.vfork())"),
    script("run a program", "os.execv('/bin/true', ['true'])"),
    script("run its interpreter", "os.execv(sys.executable, [sys.executable, '-c', ''])"),
    script("spawn", "os.posix_spawn('/bin/true', ['true'], {})"),
    script("run a command", "import subprocess; subprocess.run(['true'])"),
    script("run a shell", "assert os.system('true') == 0"),
    script("open a shell", "os.popen('echo 1').read()"),
    script("use multiprocessing", "import multiprocessing as m; m.Process(target=print).start()"),
    script(
        "use a pool of processes",
        "from concurrent.futures import ProcessPoolExecutor as P; print(list(P(1).map(abs, [1])))",
    ),
    script(
        "clone3", "arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)\nif syscall(435, arguments, 88) == 0: os._exit(0)"
    ),
    script("unshare users", "must(libc.unshare(0x10000000))"),
    script("unshare mounts", "must(libc.unshare(0x20000))"),
    script("leave its session", "os.fork() or os.setsid()"),
    script("leave its group", "os.setpgid(0, os.getppid())"),
]

_OTHERS = [
    script("kill the trainer", "os.kill(T['trainer'], 9)"),
    script("signal the trainer", "os.kill(T['trainer'], 0)"),
    script("kill the worker", "os.kill(os.getppid(), 9)"),
    script("stop the worker", "os.kill(os.getppid(), 19)"),
    script("kill everybody", "os.kill(-1, 0)"),
    script("kill its group", "os.kill(0, 0)"),
    script("kill its group by name", "os.killpg(os.getpgrp(), 9)"),
    script("kill a thread of the worker", "must(libc.tgkill(os.getppid(), os.getppid(), 9))"),
    script(
        "queue a signal",
        "libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]; "
        "must(libc.sigqueue(os.getppid(), 9, None))",
    ),
    script("hold the worker", "os.pidfd_open(os.getppid())"),
    script("hold the trainer", "os.pidfd_open(T['trainer'])"),
    script("take a descriptor", "syscall(438, 0, 0, 0)"),
    script("signal by descriptor", "syscall(424, 0, 9, 0, 0)"),
    script("own its pipe for the worker", "import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())"),
    script("own its pipe by structure", "import fcntl; fcntl.fcntl(1, 15, bytes(8))"),
    script("choose the signal of its pipe", "import fcntl; fcntl.fcntl(1, 10, 9)"),
    script("own its pipe by ioctl", "import fcntl; fcntl.ioctl(1, 0x8901, os.getppid().to_bytes(4, 'little'))"),
    script("outlive the worker", "must(libc.prctl(1, 0, 0, 0, 0))"),
    script("be a subreaper", "must(libc.prctl(36, 1, 0, 0, 0))"),
    script("become dumpable", "must(libc.prctl(4, 1, 0, 0, 0))"),
    script("limit the worker", "import resource as r; r.prlimit(os.getppid(), r.RLIMIT_CPU, (1, 1))"),
    script("limit the trainer", "import resource as r; r.prlimit(T['trainer'], r.RLIMIT_NOFILE, (3, 3))"),
    script("trace the worker", "must(libc.ptrace(16, os.getppid(), 0, 0))"),
    script("seize the trainer", "must(libc.ptrace(0x4206, T['trainer'], 0, 0))"),
    script("be traced", "must(libc.ptrace(0, 0, 0, 0))"),
    script(
        "read the worker's memory by a call",
        "b = (ctypes.c_uint64 * 2)(id(T), 8); must(libc.process_vm_readv(os.getppid(), b, 1, b, 1, 0))",
    ),
    script(
        "write the trainer's memory",
        "b = (ctypes.c_uint64 * 2)(id(T), 8); must(libc.process_vm_writev(T['trainer'], b, 1, b, 1, 0))",
    ),
    script("advise the worker's memory", "syscall(440, 0, 0, 0, 0, 0)"),
    script("move the worker to one processor", "os.sched_setaffinity(os.getppid(), {0})"),
    script("move itself to one processor", "os.sched_setaffinity(0, {0})"),
    script("be nicer", "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"),
    script("be real-time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
]

_NOTES = [
    script("leave shared memory", "must(libc.shmget(T['key'], 4096, 0o1666))"),
    script("leave a semaphore", "must(libc.semget(T['key'], 1, 0o1666))"),
    script("leave a message queue", "must(libc.msgget(T['key'], 0o1666))"),
    script("leave a POSIX queue", "must(libc.mq_open(b'/' + T['mark'].encode(), 0o102, 0o666, None))"),
    script("leave POSIX shared memory", "must(libc.shm_open(b'/' + T['mark'].encode(), 0o102, 0o666))"),
    script(
        "leave multiprocessing's memory",
        "from multiprocessing.shared_memory import SharedMemory as S; S(T['mark'], True, 99)",
    ),
    script("leave a key", "n = T['mark'].encode(); syscall(by_machine(248, 217), b'user', n, b'note', 4, -3)"),
    script("rename the machine", "import socket; socket.sethostname(os.uname().nodename)"),
    script("set the clock", "import time; time.clock_settime(time.CLOCK_REALTIME, time.time())"),
]

_KERNEL = [
    script("become root", "os.setuid(0)"),
    script("become somebody", "os.setresuid(12, 12, 12)"),
    script("change its groups", "os.setgroups([0])"),
    script("gain capabilities", "must(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()))"),
    script("mount", "must(libc.mount(b'none', T['folder'].encode(), b'tmpfs', 0, None))"),
    script("unmount", "must(libc.umount2(T['folder'].encode(), 2))"),
    script("open a tree of mounts", "syscall(428, -100, b'/', 1)"),
    script("enter a namespace", "must(libc.setns(0, 0))"),
    script("use io_uring", "syscall(425, 8, (ctypes.c_uint64 * 32)())"),
    script("load BPF", "syscall(by_machine(321, 280), 0, bytes(64), 64)"),
    script("measure the machine", "syscall(by_machine(298, 241), bytes(128), 0, -1, -1, 0)"),
    script("handle page faults", "syscall(by_machine(323, 282), 1)"),
    script("change its personality", "must(libc.personality(0x40000))"),
    script("loosen its filter", "must(libc.prctl(22, 0, 0, 0, 0))"),
    script("add a filter", "syscall(by_machine(317, 277), 1, 0, 0)"),
    script("reboot", "must(libc.reboot(0))"),
    script("use a swap file", "must(libc.swapon(b'/dev/null', 0))"),
    script("account processes", "must(libc.acct(None))"),
    script("splice", "must(libc.vmsplice(1, (ctypes.c_uint64 * 2)(id(T), 8), 1, 0))"),
    script("type into a terminal", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')"),
]

_CODE = """
import mmap
area = mmap.mmap(-1, 4096, prot=7)
area.write(bytes.fromhex("{code}"))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(area)))()
"""
_X86 = [
    script("fork by the x32 table", "if syscall(0x40000000 | 57) == 0: os._exit(0)"),
    script("make a file by the x32 table", "syscall(0x40000000 | 2, ('/tmp/' + T['mark']).encode(), 0o102, 0o600)"),
    # mov eax, 2 (fork for 32 bits); int 0x80; ret
    script("fork by the 32-bit gate", _CODE.format(code="b802000000cd80c3")),
    script("grant itself ports", "must(libc.iopl(3))"),
    script("change a descriptor table", "syscall(154, 0, bytes(16), 16)"),
    script("fork with half a number", "if syscall(57 + (1 << 32)) == 0: os._exit(0)"),
]

OUTSIDE = [*_NETWORK, *_START, *_OTHERS, *_NOTES, *_KERNEL, *(_X86 if platform.machine() == "x86_64" else [])]
