"""Lessons and their grading: gaps that open and close, answers judged from outside, and processes that may do
little.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lnl_kit.commands import lab
from lnl_kit.notebook.exercises import EXERCISES
from lnl_kit.teaching import gaps, lessons
from lnl_kit.teaching.grade import OPEN, RIGHT, WRONG, grade, judged, mark
from lnl_kit.teaching.limits import Limits
from lnl_kit.teaching.solutions import SOLUTIONS
from lnl_kit.teaching.table import as_rows, details, table

QUICK = Limits(60, 2, 2**30, 2**20)


def cells_of(number, solutions=False):
    return json.loads(lessons.make(number, solutions))["cells"]


def sources_of(cells):
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


# ---------------------------------------------------------------- lessons


@pytest.mark.parametrize("number", lessons.LESSONS)
def test_a_lesson_is_a_notebook_with_gaps_that_its_solutions_close(number):
    opened, closed = cells_of(number), cells_of(number, True)
    nbformat.validate(nbformat.reads(lessons.make(number).decode(), 4))
    assert len({c["id"] for c in opened}) == len(opened) == len(closed)
    own = [(a, b) for a, b in zip(opened, closed) if lessons.noted(a)]
    assert len([a for a, _ in own if "exercise" in lessons.noted(a)]) == 3
    assert len([a for a, _ in own if "gap" in lessons.noted(a)]) == 1
    for a, b in own:
        assert gaps.is_open("".join(a["source"])) and not gaps.is_open("".join(b["source"]))
    assert all(a == b for a, b in zip(opened[1:], closed[1:]) if not lessons.noted(a))
    assert "parameters" in next(c for c in opened if c["cell_type"] == "code")["metadata"]["tags"]
    full = {name for name in EXERCISES if name in " ".join(lessons.exercises_of({"cells": opened}))}
    assert len(full) == 3 and len(opened) <= 30


def test_every_exercise_is_in_a_lesson_and_every_gap_has_its_hint():
    asked = [name for n in lessons.LESSONS for name in lessons.exercises_of({"cells": cells_of(n)})]
    assert sorted(asked) == sorted(EXERCISES) == sorted(SOLUTIONS)
    for n, lesson in lessons.LESSONS.items():
        opened = {v for c in cells_of(n) for v in lessons.noted(c).get("gap", ())}
        assert opened == set(lesson.hints)


@pytest.mark.parametrize("number", lessons.LESSONS)
def test_the_notes_plan_at_most_45_minutes_and_name_what_they_are_about(number):
    page = lessons.notes(number)
    minutes = [int(n) for n in re.findall(r"^\| (\d+) \|", page, flags=re.M)]
    assert 25 <= sum(minutes) <= lessons.MINUTES
    for name in lessons.exercises_of({"cells": cells_of(number)}):
        plan, _, answers = page.partition("## Gaps and solutions")
        assert f"`{name}`" in plan and f"**{name}**" in answers
        assert all(why in answers for _, why in EXERCISES[name].mistakes)
    assert all(f"`{v}`" in page and f"{v} = " in page for v in lessons.LESSONS[number].hints)


def test_gaps():
    code = "def f(x):\n    y = [\n        x,\n    ]\n    return y"
    assert gaps.blank(code, "y", "a list") == (
        "def f(x):\n    # Your turn: a list\n    y = ...\n    return y"
    )
    with pytest.raises(ValueError, match="assigns 0 times"):
        gaps.blank(code, "z", "")
    with pytest.raises(ValueError, match="assigns 2 times"):
        gaps.blank("y = 1\ny = 2", "y", "")
    with pytest.raises(ValueError, match="'z', which its cell does not define"):
        gaps.asked("check('a.b', z)")
    assert gaps.is_open("x = (") and gaps.is_open("def f():\n    return ...") and not gaps.is_open("x[...]")


def test_which_lessons_are_meant():
    assert lessons.of_text("2") == [2] and lessons.of_text("3,1") == [1, 3]
    assert lessons.of_text("all") == lessons.of_text("1..6") == [1, 2, 3, 4, 5, 6]
    for bad in ("", "0", "7", "x", "1..", "3..1", "1-6", "²"):
        with pytest.raises(ValueError, match="lesson"):
            lessons.of_text(bad)


def test_lab_brings_a_lesson_and_to_the_teacher_its_notes(tmp_path, capsys):
    assert lab.lab(tmp_path / "class", lesson="1,2", copy_only=True) == 0
    assert sorted(p.name for p in (tmp_path / "class").glob("[!.]*")) == ["lesson_1.ipynb", "lesson_2.ipynb"]
    mine = tmp_path / "class" / "lesson_1.ipynb"
    mine.write_text("my answers")
    assert lab.lab(tmp_path / "class", lesson="1", copy_only=True) == 0
    assert mine.read_text() == "my answers" and "yours, and left" in capsys.readouterr().err
    assert lab.lab(tmp_path / "teacher", solutions=True, copy_only=True) == 0
    names = {p.name for p in (tmp_path / "teacher").glob("[!.]*")}
    assert len(names) == 12 and {"lesson_6_notes.md", "lesson_6_solutions.ipynb"} <= names
    with pytest.raises(ValueError, match="there are 1, 2, 3, 4, 5, 6"):
        lab.lab(tmp_path / "x", lesson="9", copy_only=True)


# ---------------------------------------------------------------- grading


def notebook(path, *sources, number=0):
    """Writes a notebook of these cells, as one of a lesson where a number is given."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    made.metadata["lnl"] = {"lesson": number} if number else "odd"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)


ASK = "from lnl_kit.exercises import check\n"
HURT = """import ctypes, os
for path in (f'{place}/a', f'{place}/link/b'):
    try:
        open(path, 'w')
    except OSError as problem:
        told = str(problem)
    else:
        told = 'written'
    assert 'own folder only' in told or 'denied' in told, told
libc = ctypes.CDLL(None, use_errno=True)
libc.open(f'{place}/c'.encode(), 0o101, 0o600)
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class that everything went wrong in, graded once: {learner: Graded}, and where nobody may write."""
    place, folder = tmp_path_factory.mktemp("others"), tmp_path_factory.mktemp("class")
    os.environ["LNL_TEST_SECRET"] = "hidden"
    good = [ASK + gaps.filled("wrong = ...", SOLUTIONS["noise.wrong"]) + "\ncheck('noise.wrong', wrong)"]
    good += [
        ASK + gaps.filled("def T(rate, k):", SOLUTIONS["noise.matrix"]) + "\ncheck('noise.matrix', T)",
        "check('noise.memorised', 1 - 0.36)",
    ]
    notebook(folder / "ada" / "one.ipynb", *good, number=1)
    notebook(
        folder / "bob.ipynb",
        "print('noise.wrong: right. Trust me.')",
        "1 / 0",
        ASK + "def T(rate, k):\n    raise KeyError('x')\ncheck('noise.matrix', T)",
        "check('noise.memorised', ...)",
        "check('noise.wrong', 0.4)\n%nothing",
    )
    notebook(
        folder / "eve.ipynb",
        f"place = {str(place)!r}\n{HURT}",
        "assert 'LNL_TEST_SECRET' not in os.environ and os.environ['HOME'] == os.getcwd()",
        "open('mine', 'w').write('x'); assert open('mine').read() == 'x'",
        f"open({str(folder / 'bob.ipynb')!r}).read()",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "os.kill(os.getppid(), 9)",
        "x = bytearray(2 * 2**30)",
        "open('big', 'wb').write(bytes(2**21))",
        "while True: pass",
        "os._exit(0)",
        ASK + "check('noise.wrong', 0.36)",
    )
    (folder / "none.ipynb").write_text("[1]")
    (folder / "deep.ipynb").write_text("[" * 100_000)
    notebook(folder / "other.ipynb", "x = 1")
    (folder / ".ipynb_checkpoints").mkdir()
    notebook(folder / ".ipynb_checkpoints" / "ada.ipynb", *good)
    (folder / "link.ipynb").symlink_to(folder / "bob.ipynb")
    try:
        yield {row.learner: row for row in grade(folder, QUICK, warm=False)}, place, folder
    finally:
        del os.environ["LNL_TEST_SECRET"]


def test_every_notebook_has_its_row_whatever_is_in_it(graded):
    rows, _, _ = graded
    assert set(rows) == {"ada/one", "bob", "eve", "none", "deep", "other"}
    assert rows["ada/one"].marks == dict.fromkeys(("noise.wrong", "noise.matrix", "noise.memorised"), RIGHT)
    assert rows["ada/one"].lesson == 1 and not rows["ada/one"].errors
    assert rows["none"].problem.startswith("this is no notebook") and rows["deep"].problem
    assert rows["other"].problem == "it has none of the kit's exercises"


def test_answers_are_judged_outside_of_the_learners_process(graded):
    bob = graded[0]["bob"]
    assert bob.marks == {"noise.wrong": WRONG, "noise.matrix": WRONG, "noise.memorised": OPEN}
    assert "one case of ten" in bob.said["noise.wrong"]  # what it printed counts for nothing
    assert "raises KeyError: 'x'" in bob.said["noise.matrix"]
    assert bob.errors[0] == "cell 2: ZeroDivisionError: division by zero" and len(bob.errors) == 2


def test_a_notebook_is_kept_to_its_folder_its_time_and_its_memory(graded):
    rows, place, _ = graded
    eve, failed = rows["eve"], dict(e.split(": ", 1) for e in rows["eve"].errors)
    assert eve.marks["noise.wrong"] == RIGHT  # after all that
    assert not (place / "a").exists() and not (place / "b").exists()
    for cell in ("cell 1", "cell 2", "cell 3"):
        assert cell not in failed, failed
    assert "no network" in failed["cell 5"] and "no other program" in failed["cell 6"]
    assert "no other process" in failed["cell 7"] and failed["cell 8"].startswith("MemoryError")
    assert "File too large" in failed["cell 9"] and "longer than 2 s" in failed["cell 10"]
    assert failed["cell 11"] == "it ended the whole process" and "cell 12" not in failed


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_the_kernel_holds_what_python_cannot(graded):
    """By C, past Python's own hook."""
    script = "from lnl_kit.teaching.limits import *; print(restrict(Limits(), Path('.'), []))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    if not int(done.stdout):
        pytest.skip("this kernel has no Landlock")
    rows, place, _ = graded
    assert (
        not (place / "c").exists()
        and "Permission denied" in dict(e.split(": ", 1) for e in rows["eve"].errors)["cell 4"]
    )


EACH = "import contextlib, os\nfor n in range(3, 20):\n  with contextlib.suppress(OSError): "
C = "import ctypes; c = ctypes.CDLL(None)\n"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
@pytest.mark.parametrize(
    "cell, said",
    [
        (C + "c.fork() or (c.setsid(), c.prctl(15, NAME), c.fork() and c._exit(0), c.sleep(600))", ""),
        (C + "c.prctl(15, NAME)\nwhile True: c.fork()", "it (started too many processes|took more memory)"),
        (
            "import mmap\nm = mmap.mmap(-1, 2**32)\nfor _ in range(200): m.write(bytes(2**24))",
            "it took more memory than it may",
        ),
        (EACH + "os.write(n, b'{\"ends\": 0}\\n')", ""),
    ],
    ids=["an orphan", "too many", "shared memory", "half a line"],
)
def test_what_a_notebook_starts_ends_with_it(tmp_path, cell, said):
    """And what it takes beyond one process or its own heap counts too."""
    name = os.urandom(6).hex()
    cell = cell.replace("NAME", repr(name.encode()))
    notebook(tmp_path / "eve.ipynb", cell, ASK + "check('noise.wrong', 0.36)")
    row = next(iter(grade(tmp_path, QUICK._replace(memory=2**30), warm=False)))
    assert not row.problem and row.marks["noise.wrong"] == RIGHT
    assert [bool(re.match(f"cell 1: {said}", e)) for e in row.errors] == [True] * bool(said), row.errors
    alive = [p for p in Path("/proc").glob("[0-9]*/comm") if name in _text(p)]
    assert not alive


def _text(path):
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def test_without_the_fence_the_same_code_writes(tmp_path):
    """The control: what is looked for above is there where nothing limits it."""
    exec(HURT.replace("assert", "told ==").replace("{place}/link/b", "{place}/b"), {"place": str(tmp_path)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_one_table_and_what_the_class_found_hard(graded, tmp_path):
    rows = list(graded[0].values())
    text = table(rows)
    assert re.search(r"ada/one +lesson 1  3 of 3 right: wrong right, matrix right, memorised right", text)
    assert "noise.wrong: 2 of 3 right; most often: not yet. A redrawn" in text
    assert "raises KeyError" in details(rows)
    by = {row["learner"]: row for row in as_rows(rows)}
    assert by["bob"]["right"] == 0 and by["bob"]["noise.matrix"] == WRONG and by["none"]["problem"]


def test_what_no_process_of_the_kit_tells_is_no_answer():
    exercise = EXERCISES["noise.matrix"]
    for told in (
        {"answer": "function"},
        {"answer": "function", "outputs": "x"},
        {"answer": "number", "value": []},
        {"answer": 3},
        {"answer": "other", "kind": None},
        {"answer": "function", "outputs": []},
    ):
        assert mark(judged(exercise, told | {"check": "x"})) != RIGHT
    assert judged(exercise, None).startswith("not checked")
    assert "this is 'seven'" in judged(
        EXERCISES["noise.wrong"], {"answer": "number", "value": {"looks": "'seven'"}}
    )


def test_the_command(tmp_path, capsys):
    from lnl_kit.cli import main

    assert main(["grade", str(tmp_path / "nowhere")]) == 2 and "is no folder" in capsys.readouterr().err
    assert main(["grade", str(tmp_path)]) == 2 and "has no notebook" in capsys.readouterr().err
    (tmp_path / "=1+1.ipynb").write_text("{}")
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "t.csv"), "--details"]) == 0
    assert "this is no notebook" in capsys.readouterr().out
    assert "\n'=1+1," in (tmp_path / "t.csv").read_text()  # no formula
    assert main(["grade", str(tmp_path), "--memory", "0"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", lessons.LESSONS)
def test_the_teachers_copy_is_right_from_end_to_end(number, tmp_path, monkeypatch):
    """Within the limits, its runs trained once: all gaps closed, all answers right, no cell fails."""
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    (tmp_path / "class").mkdir()
    for name, solved in (("teacher", True), ("blank", False)):
        (tmp_path / "class" / f"{name}.ipynb").write_bytes(lessons.make(number, solved))
    rows = {row.learner: row for row in grade(tmp_path / "class", Limits(1200, 600))}
    solved, blank = rows["teacher"], rows["blank"]
    assert not solved.errors and set(solved.marks.values()) == {RIGHT} and solved.gaps == "1 of 1"
    assert blank.gaps == "0 of 1" and set(blank.marks.values()) == {OPEN}
    assert solved.seconds < 120  # its runs are those that were trained before
