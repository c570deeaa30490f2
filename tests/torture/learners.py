"""Notebooks of learners who mean harm, graded: each a few attacks drawn from the number of its case, then an
honest answer.
"""

import contextlib
import ctypes
import os
import random
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nbformat
from hostile import serving
from processes import forked
from tasks import settle

from lnl_kit.teaching.grade import MISSING, RIGHT, grade
from lnl_kit.teaching.limits import Limits

LIMITS = Limits(seconds=20, cell_seconds=3, memory=2**30, file=2**22)
SECRET = "a secret that lies outside"
UNTOLD = "a-name-that-only-a-listing-tells"
TOLD = (
    "from lnl_kit.exercises import check",
    "check('noise.memorised', 0.123)",  # wrong, and stays so
    "check('noise.wrong', 0.36)",
)

# What a cell may do; OUT is a file that does not exist, outside of the learner's folder, NEAR one that does,
# SECRET one that is not the learner's to read, SERVER an address.
C = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
EACH = "import contextlib, os\nfor n in range(3, 30):\n  with contextlib.suppress(OSError): "
WRITING = (
    "open(r'OUT', 'w').write('x')",
    "open(r'NEAR', 'a').write('x')",
    "import os; os.write(os.open(r'OUT', os.O_CREAT | os.O_WRONLY), b'x')",
    "import os; os.write(os.open(r'NEAR', os.O_RDWR), b'x')",
    "import io; io.FileIO(r'OUT', 'w').write(b'x')",
    "import pathlib; pathlib.Path(r'OUT').write_text('x')",
    "import pathlib; pathlib.Path(r'NEAR').unlink()",
    "import pathlib; pathlib.Path(r'NEAR').rename(r'OUT')",
    "import os; os.symlink(r'NEAR', 'mine'); open('mine', 'w').write('x')",
    "import os; os.link(r'NEAR', 'mine'); open('mine', 'w').write('x')",
    "import os; os.symlink(os.path.dirname(r'OUT'), 'there'); open('there/y', 'w').write('x')",
    "import os; os.chdir(os.path.dirname(r'OUT')); open(os.path.basename(r'OUT'), 'w').write('x')",
    "import os; os.truncate(r'NEAR', 0)",
    "import os; os.chmod(r'NEAR', 0)",
    "import os; os.utime(r'NEAR', (0, 0))",
    "import os; os.mkfifo(r'OUT')",
    "import os; os.mkdir(r'OUT')",
    "import os; open('/proc/self/root' + r'OUT', 'w').write('x')",
    "import os; open(os.path.relpath(r'OUT'), 'w').write('x')",
    "import os, shutil; shutil.rmtree(os.path.dirname(r'NEAR'))",
    "import shutil; shutil.copy(__import__('sys').executable, r'OUT')",
    "import shutil; shutil.move(r'NEAR', 'mine')",
    "import sqlite3; sqlite3.connect(r'OUT').execute('create table t (a)')",
    "import numpy; numpy.save(r'OUT', numpy.zeros(3))",
    "import numpy; numpy.memmap(r'NEAR', 'u1', 'r+')[:] = 0",
    "import torch; torch.save(torch.zeros(3), r'OUT')",
    "import zipfile; zipfile.ZipFile(r'OUT', 'w').writestr('a', 'x')",
    "import logging; logging.FileHandler(r'OUT').emit(logging.makeLogRecord({}))",
    "import pandas; pandas.DataFrame({'a': [1]}).to_csv(r'OUT')",
    "from PIL import Image; Image.new('L', (3, 3)).save(r'OUT', 'PNG')",
    "%%writefile OUT\nx",
    "%logstart OUT",
    "%save -f OUT 1-2",
    "!touch OUT",
    "!!echo x > NEAR",
    "%%bash\nrm NEAR",
    "%sx rm NEAR",
    C + "c.write(c.open(b'OUT', 0o101, 0o600), b'x', 1)",
    C + "c.creat(b'OUT', 0o600)",
    C + "c.unlink(b'NEAR')",
    C + "c.rename(b'NEAR', b'OUT')",
    C + "c.truncate(b'NEAR', ctypes.c_long(0))",
    C + "c.mkdir(b'OUT', 0o700)",
    C + "c.symlink(b'/etc', b'OUT')",
    C + "c.link(b'NEAR', b'mine'); open('mine', 'w').write('x')",
    C + "c.mknod(b'OUT', 0o100600, 0)",
    C + "c.system(b'touch OUT')",
    C + "c.rmdir(b'OUT/..')",
    C + "c.mount(b'none', b'/mnt', b'tmpfs', 0, None) == 0 and open('/mnt/x', 'w')",
    C + "c.chroot(b'.'); c.creat(b'OUT', 0o600)",
)
STARTING = (
    "import os; os.system('touch OUT')",
    "import subprocess; subprocess.run(['touch', r'OUT'])",
    "import subprocess; subprocess.Popen('sleep 600', shell=True, start_new_session=True)",
    "import os; os.execv('/bin/sh', ['sh', '-c', 'touch OUT'])",
    "import os; os.posix_spawn('/bin/sh', ['sh', '-c', 'touch OUT'], {})",
    "import os; os.fork()",
    "import pty; pty.spawn(['touch', r'OUT'])",
    "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "import multiprocessing as m; m.get_context('spawn').Process(target=print).start()",
    "from concurrent.futures import ProcessPoolExecutor as P; list(P(2).map(abs, [1]))",
    "import _posixsubprocess as p; print(p.fork_exec)",
    C + "c.fork() or c.sleep(600)",
    C + "c.fork() or (c.setsid(), c.sleep(600))",
    C + "c.fork() or (c.setsid(), c.fork() and c._exit(0), c.sleep(600))",
    C + "[c.fork() for _ in range(3)] and c.sleep(600)",
    C + "c.execl(b'/bin/sh', b'sh', b'-c', b'touch OUT', None)",
    C + "c.kill(c.getppid(), 9)",
    C + "c.kill(-1, 19)",
    C + "c.ptrace(16, c.getppid(), 0, 0)",
    C + "c.setpgid(0, 0); c.setsid()",
    "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "import os, signal; os.killpg(0, signal.SIGTERM)",
)
REACHING = (
    "import urllib.request; urllib.request.urlopen('http://SERVER/x').read()",
    "import http.client; http.client.HTTPConnection('SERVER').request('GET', '/x')",
    "import socket; socket.create_connection('SERVER'.split(':')).send(b'GET /x HTTP/1.0\\r\\n\\r\\n')",
    "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
    "import socket; socket.getaddrinfo('example.org', 80)",
    "import asyncio; asyncio.run(asyncio.open_connection(*'SERVER'.split(':')))",
    "import torch; torch.hub.load_state_dict_from_url('http://SERVER/x')",
    "import pandas; pandas.read_csv('http://SERVER/x')",
    "import numpy; numpy.lib.npyio.DataSource('.').open('http://SERVER/x')",
    C
    + "import socket, struct; h, p = 'SERVER'.split(':'); s = c.socket(2, 1, 0)\n"
    + "a = struct.pack('=H', 2) + struct.pack('>H', int(p)) + socket.inet_aton(h) + bytes(8)\n"
    + "assert c.connect(s, a, 16) or c.send(s, b'GET /x HTTP/1.0\\r\\n\\r\\n', 19, 0)",
    "raise Exception(open(r'SECRET').read())",
    "import os; raise Exception(os.listdir(os.path.dirname(r'SECRET')))",
    "import os; raise Exception(open(f'/proc/{os.getppid()}/environ').read()[-400:])",
    "import os; raise Exception(open(f'/proc/{os.getppid()}/root' + r'SECRET').read())",
    "import os; os.symlink(r'SECRET', 'mine'); raise Exception(open('mine').read())",
    "import os; os.link(r'SECRET', 'mine'); raise Exception(open('mine').read())",
)
STAYING = (
    "while True: pass",
    "import time; time.sleep(10**6)",
    "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    "7 ** (7 ** 12)",
    "sum(range(10**12))",
    "'x' * 10**7 in 'x' * 10**9 + 'y'",
    "import signal; signal.alarm(0)\nwhile True: pass",
    "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "import threading; threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()",
    "import threading; [threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start() "
    "for _ in range(3)]",
    "import threading; k = threading.Lock(); k.acquire(); k.acquire()",
    "import atexit; atexit.register(lambda: [None for _ in iter(int, 1)])",
    "class X:\n    def __del__(self):\n        while True: pass\nx = X(); del x",
    "input('answer?')",
    "import os; os.read(0, 1)",
    "open('/dev/zero').read()",
    "breakpoint()",
    "%debug",
    "import asyncio; await asyncio.sleep(10**6)",
    C + "c.pause()",
    C + "c.sleep(1000)",
)
TAKING = (
    "x = bytearray(2 * 2**30)",
    "x = []\nwhile True: x.append(bytearray(2**20))",
    "import numpy; numpy.ones(2**29)",
    "import torch; torch.ones(2**30)",
    "x = 'a' * 2**32",
    "def f(): f()\nf()",
    "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "x = [0] * 10**10",
    "import mmap; m = mmap.mmap(-1, 3 * 2**30); [m.__setitem__(k, 1) for k in range(0, 3 * 2**30, 4096)]",
    C + "c.malloc.restype = ctypes.c_void_p; c.memset(ctypes.c_void_p(c.malloc(3 * 2**30)), 1, 3 * 2**30)",
    "open('big', 'wb').write(bytes(2**24))",
    "for n in range(2000): open(f'f{n}', 'w').write('x')",
    "files = [open(f'g{n}', 'w') for n in range(5000)]",
    "import os; p = ''\nfor n in range(2000): p += 'a' * 200 + '/'; os.makedirs(p, exist_ok=True)",
    "print('x' * 10**8)",
    "while True: print('x' * 10**6)",
    "from IPython.display import display, HTML; display(HTML('<b>' * 10**6))",
    EACH + "os.write(n, b'x' * 10**7)",
)
CHEATING = (
    "import lnl_kit.notebook.exercises as e; e.EXERCISES.clear()",
    "import lnl_kit.notebook.exercises as e; e.check = print",
    "import lnl_kit.exercises as e; e.check = lambda *a: None",
    "import builtins; builtins.isinstance = lambda *a: True",
    "import json; json.dumps = lambda *a, **k: '{}'",
    "import contextlib, gc, io\nfor o in gc.get_objects():\n    with contextlib.suppress(BaseException):\n"
    "        if type(o) is io.TextIOWrapper: o.close()",
    EACH + "os.close(n)",
    EACH + """os.write(n, b'{"check": 3, "answer": []}\\n[1]\\n\\xff\\n')""",
    EACH + "os.write(n, b'[' * 10**5 + b'\\n')",
    EACH + """os.write(n, b'{"begins": 10**9, "ends": NaN}\\n{"ends": 0}\\n')""",
    EACH + """os.write(n, b'{"begins": 0}\\n{"end": true}\\n')""",
    "raise SystemExit(0)",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "raise BaseException('x' * 10**7)",
    "class E(Exception):\n    def __str__(self): raise self\nraise E",
    "class E(Exception):\n    def __str__(self): return 'x' * 10**8\nraise E",
    "class X:\n    def __float__(self): return 0.36\n    def __repr__(self): raise ValueError\n"
    "check('noise.memorised', X())",
    "class X:\n    def __array__(self, *a, **k):\n        while True: pass\ncheck('noise.memorised', X())",
    "class X:\n    __class__ = property(lambda s: 1 / 0)\ncheck('noise.memorised', X())",
    "import numpy; check('noise.memorised', numpy.zeros(10**8))",
    "check('noise.memorised', 'x' * 10**8)",
    "check('noise.memorised', float('nan'))",
    "check('noise.memorised', 10**400)",
    "check('nothing.like.it', 1)",
    "check([], {})",
    "check('noise.matrix', lambda *a: 'x' * 10**8)",
    "check('noise.matrix', lambda *a: [[a] * 10**6])",
    "def T(*a): raise SystemExit\ncheck('noise.matrix', T)",
    "def T(*a): return T(*a)\ncheck('noise.matrix', T)",
    "import sys; sys.settrace(lambda *a: 1 / 0)",
    "import sys; sys.modules.clear()",
    "import os; os._exit(0)",
    "import os; os.abort()",
    C + "ctypes.string_at(0)",
    "get_ipython().run_cell = lambda *a: None",
    "get_ipython().ast_transformers.append(1)",
    "import warnings; warnings.simplefilter('error')",
    "\x00",
    "x = (" * 10**4,
    "\ud800".encode("utf-8", "replace").decode(),
    "%run /etc/passwd",
    "%load_ext os",
    "%reset -f",
    "%env HOME=/",
    "del check",
    "quit()",
)
KINDS = {
    "writes outside": WRITING,
    "starts processes": STARTING,
    "reaches out": REACHING,
    "does not end": STAYING,
    "takes too much": TAKING,
    "cheats": CHEATING,
}
ENDLESS = 0.35  # how often a case has one that does not end, which takes its time


def attack(number: int) -> tuple[str, list[str]]:
    """(the kind of most of them, attacks)."""
    draw = random.Random(f"learner {number}")
    kind = list(KINDS)[number % len(KINDS)]
    most = 1 if kind == "does not end" else 4
    cells = draw.sample(KINDS[kind], most)
    cells += [draw.choice(KINDS[draw.choice([k for k in KINDS if k != "does not end"])])]
    return kind, draw.sample(cells, len(cells))


def left_behind(root: Path) -> list[int]:
    """Processes of learners below a folder that are still there."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(f"HOME={root}/") in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def one(number: int, server: str, root: Path) -> None:
    """AssertionError where the notebook did anything but lose."""
    settle(root)
    os.environ.pop("LD_PRELOAD", None)
    os.environ["LNL_TEST_SECRET"] = SECRET
    tempfile.tempdir = str(root / "temporary")
    os.mkdir(tempfile.tempdir)
    place, lesson = root / "others", root / "class"
    for folder in (place, lesson):
        folder.mkdir()
    (place / "near").write_text("as it was")
    (place / "secret").write_text(SECRET)
    (place / UNTOLD).touch()
    names = {"OUT": place / "out", "NEAR": place / "near", "SECRET": place / "secret", "SERVER": server}
    kind, cells = attack(number)
    for name, value in names.items():
        cells = [cell.replace(name, str(value)) for cell in cells]
    sources = [*TOLD[:2], *cells, *TOLD]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    nbformat.write(made, lesson / "eve.ipynb")
    content = (lesson / "eve.ipynb").read_bytes()
    started = time.monotonic()
    row = next(iter(grade(lesson, LIMITS, warm=False)))
    took = time.monotonic() - started
    assert not row.problem, row.problem
    assert took < 4 * LIMITS.seconds + 30, f"it took {took:.0f} s"
    marks = row.marks
    assert marks["noise.memorised"] != RIGHT, f"a wrong answer counts as right: {row.said}"
    honest = marks["noise.wrong"]  # who breaks what tells the answer gives none
    assert honest == RIGHT or (honest == MISSING and (row.errors or kind == "cheats")), (marks, row.errors)
    assert all(len(e) < 1000 for e in row.errors)
    there = {p.name: p.read_bytes() if p.is_file() else b"" for p in place.iterdir()}
    wanted = {"near": b"as it was", "secret": SECRET.encode(), UNTOLD: b""}
    assert there == wanted, f"outside there is now: {sorted(there)}"
    assert (place / "near").stat().st_mode & 0o777 and (place / "near").stat().st_mtime > 1
    assert [p.name for p in lesson.iterdir()] == ["eve.ipynb"] and content == (
        lesson / "eve.ipynb"
    ).read_bytes()
    assert SECRET not in str(row) and UNTOLD not in str(row), "it read what is not its own"
    time.sleep(0.05)
    left = left_behind(root.resolve())
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left, f"{len(left)} processes are left behind"
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    assert memory < 2 * LIMITS.memory, f"it took {memory / 1e9:.1f} GB"


def cases(first: int) -> Iterator[tuple[str, dict | None, dict]]:
    """Notebook by notebook; none where the kernel has no Landlock, for then Python's hook alone holds."""
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 6:
        print("learners: left out, this kernel's Landlock is older than version 6", flush=True)
        return
    with serving() as (server, asked):
        while True:
            kind, cells = attack(first)
            with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
                ended = forked(partial(one, first, server, Path(folder)), at_most=300)
            wrong = "" if ended.status == 0 else f"ended with {ended.status}: {ended.said[-1500:]}"
            wrong = wrong or (f"it reached the server: {asked}" if asked else "")
            asked.clear()
            yield kind, {"case": first, "cells": cells, "wrong": wrong} if wrong else None, {}
            first += 1
