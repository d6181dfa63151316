"""Programs in completions, graded by the tests of their problems."""

import codecs
import errno
import gzip
import json
import os
import re
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_marlhf.commands import grade
from lightning_marlhf.evaluation import grading
from lightning_marlhf.evaluation.grading_inputs import Problems
from lightning_marlhf.records import Completion, GradedProgram, append_jsonl, write_jsonl
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, ProgramVerdict, Report, SandboxError
from tests.commands.one_line import error_line

DOUBLE, ADD, UNTESTED, BROKEN, UNEVEN, ODD = 7, 8, 9, 10, 11, 12

RIGHT = "print(2 * int(input()))"
SUM = "def add(a, b):\n    return a + b\n"
FAST = ("--cpu-s", "0.5")


def problem(problem_id, tests, difficulty="introductory"):
    return {
        "problem_id": problem_id,
        "question": f"Problem {problem_id}",
        "solutions": "",
        "input_output": tests if isinstance(tests, str) else json.dumps(tests),
        "difficulty": difficulty,
        "url": "",
        "starter_code": "",
    }


PROBLEMS = [
    problem(DOUBLE, {"inputs": ["1\n", "2\n", "0\n"], "outputs": ["2\n", "4\n", "0\n"]}),
    problem(ADD, {"inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]], "fn_name": "add"}, "interview"),
    problem(UNTESTED, ""),
    problem(BROKEN, '{"inputs": ['),
    problem(UNEVEN, {"inputs": ["1", "2"], "outputs": ["1"]}),
    problem(ODD, {"inputs": ["1"], "outputs": [{"1": 2}]}),
]


def make_files(folder):
    """Where a test's problems, completions and results are."""
    write(folder / "p.jsonl", PROBLEMS)
    return SimpleNamespace(
        problems=folder / "p.jsonl", completions=folder / "c.jsonl", out=folder / "g.jsonl", folder=folder
    )


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


@pytest.fixture(scope="module")
def results_of_four(tmp_path_factory):
    """The lines of results of `FOUR`."""
    files = make_files(tmp_path_factory.mktemp("four"))
    write(files.completions, FOUR)
    assert run(files) == 0
    return files.out.read_text().splitlines(keepends=True)


def write(path: Path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def completions(*pairs):
    return [{"problem_id": number, "completion": text} for number, text in pairs]


FOUR = completions((DOUBLE, RIGHT), (ADD, SUM), (DOUBLE, "print(2)"), (UNTESTED, ""), (ADD, "1/0"))


def run(files, *more):
    given = {"problems": files.problems, "completions": files.completions, "out": files.out}
    words = [word for name, path in given.items() for word in (f"--{name}", str(path))]
    return grade.main(["grade", *words, *more])


def results(files):
    return [json.loads(line) for line in files.out.read_text().splitlines()]


# Verdicts


@pytest.mark.parametrize("match", ["strict", "apps"])
def test_every_way_to_pass_or_fail_has_its_verdict_and_reward(files, match):
    first_only = "n = int(input())\nif n == 1: print(2)\nelse: {}"
    expected = {
        RIGHT: (["passed"] * 3, 1.0),
        "print(2)": (["passed", "wrong_answer", "wrong_answer"], -0.3 + 1.3 / 3),
        first_only.format("1 / 0"): (["passed", "runtime_error", "runtime_error"], -0.6),
        "while True: pass": (["time_limit"] * 3, -0.6),
        first_only.format("[0] * 10**9"): (["passed", "memory_limit", "memory_limit"], -0.6),
        "print('x' * 2_000_000)": (["output_limit"] * 3, -0.6),
        "print(": (["compile_error"] * 3, -1.0),
    }
    write(files.completions, completions(*((DOUBLE, program) for program in expected)))
    assert run(files, "--match", match, *FAST, "--workers", "2") == 0
    rows = results(files)
    assert [row["results"] for row in rows] == [each for each, _ in expected.values()]
    assert [row["reward"] for row in rows] == pytest.approx([each for _, each in expected.values()])
    assert [row["verdict"] for row in rows] == [
        "passed",
        "wrong_answer",
        "runtime_error",
        "time_limit",
        "memory_limit",
        "output_limit",
        "compile_error",
    ]
    assert [(row["passed"], row["failed"]) for row in rows[:3]] == [(3, 0), (1, 2), (1, 2)]
    assert [(row["row"], row["sample"]) for row in rows] == [(n + 1, n) for n in range(7)]
    assert {(row["problem_id"], row["match"]) for row in rows} == {(DOUBLE, match)}
    assert {row["isolation"] for row in rows} <= {"A", "B"}
    assert rows[2]["message"] == "ZeroDivisionError: division by zero"


def test_the_first_thing_that_went_wrong_is_the_verdict(files):
    write(files.completions, completions((DOUBLE, "n = int(input())\nprint(2 // n)")))
    assert run(files) == 0
    assert results(files)[0]["results"] == ["passed", "wrong_answer", "runtime_error"]
    assert results(files)[0]["verdict"] == "wrong_answer"


def test_outputs_are_compared_as_asked_for(files):
    write(files.completions, completions((DOUBLE, "n = 2 * int(input())\nprint(n, n)")))
    assert run(files) == 0
    assert results(files)[0]["verdict"] == "wrong_answer"
    assert run(files, "--match", "apps", "--overwrite") == 0  # to it, a line is a set of words
    assert results(files)[0]["verdict"] == "passed"


def test_blank_lines_between_rows_do_not_count(files):
    files.problems.write_text("\n" + "\n \n".join(map(json.dumps, PROBLEMS)))
    files.completions.write_text("\n\n".join(map(json.dumps, completions((ADD, SUM), (ADD, "")))))
    assert run(files) == 0
    assert [(row["row"], row["verdict"]) for row in results(files)] == [(1, "passed"), (2, "runtime_error")]


def test_a_program_is_looked_for_in_prose_unless_completions_are_raw(files):
    talk = f"Here it is:\n```python\n{RIGHT}\n```\nIt doubles."
    write(files.completions, completions((DOUBLE, talk), (ADD, SUM)))
    assert run(files) == 0
    assert [row["verdict"] for row in results(files)] == ["passed", "passed"]
    assert run(files, "--raw", "--overwrite") == 0
    assert [row["verdict"] for row in results(files)] == ["compile_error", "passed"]


def test_the_first_tests_alone_decide_where_asked_to(files):
    write(files.completions, completions((DOUBLE, "print(2)")))
    assert run(files, "--tests", "1") == 0
    assert results(files)[0]["results"] == ["passed"]


def test_limits_are_those_of_the_command_line(files):
    program = "import time\nblock = bytearray(100 << 20)\ntime.sleep(0.4)\n" + RIGHT
    write(files.completions, completions((DOUBLE, program)))
    small = ("--tests", "1", "--overwrite")
    assert run(files, *small) == 0
    assert run(files, *small, "--memory-mb", "50") == 0
    assert results(files)[0]["verdict"] == "memory_limit"
    assert run(files, *small, "--cpu-s", "0.2", "--wall-factor", "1") == 0
    assert results(files)[0]["verdict"] == "time_limit"


def test_completions_of_our_runs_are_read_too(files):
    shared = {"prompt": "p", "model": "m", "seed": 1, "step": 1, "num_tokens": 9, "ended": True}
    reference = {"problem_id": ADD, "difficulty": "interview", "input_output": ""}
    row = Completion(sample_id="s", response=SUM, reference=reference, **shared)
    write_jsonl(files.completions, [row])
    assert run(files) == 0
    assert [(row["problem_id"], row["verdict"]) for row in results(files)] == [(ADD, "passed")]


# Problems that cannot be graded


def test_problems_without_sound_tests_are_left_out_and_counted(files, capsys):
    rows = completions((UNTESTED, "pass"), (ADD, SUM), (BROKEN, "pass"), (UNTESTED, ""), (UNEVEN, ""), (ODD, ""))
    write(files.completions, rows)
    assert run(files) == 0
    assert [(row["row"], row["problem_id"]) for row in results(files)] == [(2, ADD)]
    out, error = capsys.readouterr()
    assert f"completions left out: 2, of 1 problems (no tests; the first is problem {UNTESTED})\n" in error
    assert f"1, of 1 problems (input_output cannot be parsed; the first is problem {BROKEN})" in error
    assert f"(not as many outputs as inputs; the first is problem {UNEVEN})" in error
    assert f"(tests that are neither texts nor calls; the first is problem {ODD})" in error
    assert "problems without completions, not counted: 1\n" in error  # DOUBLE
    assert re.search(r"^problems +1 ", out, flags=re.MULTILINE)


def test_nothing_to_grade_is_a_mistake(files, capsys):
    write(files.completions, completions((UNTESTED, "pass"), (BROKEN, "pass")))
    assert run(files) == 1
    assert capsys.readouterr().err == (
        f"error: no problem of {files.completions} can be graded (problem {UNTESTED}: no tests)\n"
    )
    assert not files.out.exists()


# Resuming


def grade_one_by_one(monkeypatch, append):
    monkeypatch.setattr(grading, "_IN_FLIGHT", 1)
    monkeypatch.setattr(grading, "append_jsonl", append)


def test_an_interrupted_file_is_completed_to_the_same_rows(files, results_of_four, capsys, monkeypatch):
    write(files.completions, FOUR)
    files.out.write_text("".join(results_of_four))
    assert len(results_of_four) == 4
    written = []

    def append_twice(path, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.extend(rows)
        append_jsonl(path, rows)

    with monkeypatch.context() as patch:
        grade_one_by_one(patch, append_twice)
        assert run(files, "--overwrite", "--workers", "1") == 130
    error = capsys.readouterr().err
    assert "python -m lightning_marlhf grade --problems" in error
    assert "--overwrite" not in error  # which would begin anew
    assert error.endswith("--workers 1\n")
    assert files.out.read_text() == "".join(results_of_four[:2])

    with files.out.open("a") as file:
        file.write(results_of_four[2][:40])  # as a process that is killed leaves it
    assert run(files) == 0
    assert files.out.read_text() == "".join(results_of_four)


def test_what_is_graded_is_not_run_again(files, results_of_four, capsys, monkeypatch):
    write(files.completions, FOUR)
    files.out.write_text("".join(results_of_four))
    monkeypatch.setattr(grade, "Sandbox", None)
    assert run(files) == 0
    assert re.search(r"^pass@1 +50\.0 %", capsys.readouterr().out, flags=re.MULTILINE)
    assert files.out.read_text() == "".join(results_of_four)


def test_completions_that_were_added_since_are_graded(files, results_of_four):
    write(files.completions, FOUR)
    files.out.write_text("".join(results_of_four[:2]))
    assert run(files) == 0
    assert files.out.read_text().startswith("".join(results_of_four[:2]))
    assert [(row["row"], row["sample"]) for row in results(files)] == [(1, 0), (2, 0), (3, 1), (5, 1)]


@pytest.mark.parametrize(
    "other", ["--match apps", "--cpu-s 5", "--memory-mb 300", "--wall-factor 4", "--tests 1", "--raw"]
)
def test_results_of_other_settings_are_not_added_to(files, results_of_four, capsys, other):
    write(files.completions, FOUR[:1])
    files.out.write_text(results_of_four[0])
    assert run(files, *other.split()) == 1
    assert "line 1: settings differ" in capsys.readouterr().err
    assert files.out.read_text() == results_of_four[0]


def change_the_completion(files):
    write(files.completions, completions((DOUBLE, RIGHT), (ADD, SUM + "\n")))


def change_the_order(files):
    write(files.completions, completions((ADD, SUM), (DOUBLE, RIGHT)))


def take_completions_away(files):
    write(files.completions, completions((DOUBLE, RIGHT)))


def change_the_tests(files):
    tests = {"inputs": [[1, 1]], "outputs": [2], "fn_name": "add"}
    write(files.problems, [PROBLEMS[0], problem(ADD, tests, "interview")])


@pytest.mark.parametrize("change", [change_the_completion, change_the_order, take_completions_away, change_the_tests])
def test_results_of_other_inputs_are_not_added_to(files, results_of_four, capsys, change):
    write(files.completions, completions((DOUBLE, RIGHT), (ADD, SUM)))
    files.out.write_text(before := "".join(results_of_four[:2]))
    change(files)
    assert run(files) == 1
    assert "completions or tests differ)" in capsys.readouterr().err
    assert files.out.read_text() == before
    if change is change_the_tests:
        assert run(files, "--overwrite") == 0
        assert results(files)[-1]["verdict"] == "passed"


def test_a_file_of_something_else_is_left_as_it_is(files, capsys):
    write(files.completions, FOUR)
    for content in ("precious", '{"problem_id": 1, "completion": "a"}'):
        files.out.write_text(content)
        assert run(files) == 1
        assert "g.jsonl holds something else: give another --out" in capsys.readouterr().err
        assert files.out.read_text() == content


def test_a_failing_machine_is_one_line_and_what_was_done_stays(files, results_of_four, capsys, monkeypatch):
    write(files.completions, FOUR)
    submit = Sandbox.submit

    def fail_at_the_third(sandbox, program, tests, **options):
        if program != "print(2)":
            return submit(sandbox, program, tests, **options)
        broken: Future[Report] = Future()
        broken.set_exception(SandboxError("isolation level A: no processes left"))
        return broken

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "submit", fail_at_the_third)
        assert run(files, "--overwrite") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: isolation level A: no processes left")
    assert files.out.read_text() == "".join(results_of_four[:2])
    assert run(files) == 0
    assert files.out.read_text() == "".join(results_of_four)


def test_a_full_disk_is_one_line(files, capsys, monkeypatch):
    write(files.completions, FOUR)

    def fill(path, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(grading, "append_jsonl", fill)
    assert run(files) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: cannot write {files.out}: No space left on device; ")


# Memory


def test_no_more_programs_are_under_way_than_allowed(files):
    write(files.completions, completions(*[(DOUBLE, RIGHT)] * 9))
    under_way, most = [], []

    class Running(Future):
        def result(self, timeout=None):
            under_way.remove(self)
            return Report((ProgramVerdict.PASSED,) * 3, "A", "strict")

        def done(self):
            return False

    def submit(program, tests, **_):
        under_way.append(Running())
        most.append(len(under_way))
        return under_way[-1]

    problems = Problems(files.problems)
    job = grading.GradingJob(problems, files.completions, Limits(), "strict", raw=False, num_tests=None)
    sandbox = SimpleNamespace(submit=submit)
    graded = list(grading.grade(job.attempts(), job, sandbox, in_flight=4))
    assert [row.row for rows in graded for row in rows] == [*range(1, 10)]
    assert max(most) == 4


# Summary


def graded(problem_id, sample, difficulty, passed, failed, verdict, isolation="A"):
    given = {"reward": 0.0, "match": "strict", "fingerprint": "", "settings": {}, "results": []}
    return GradedProgram(
        row=1,
        problem_id=problem_id,
        sample=sample,
        difficulty=difficulty,
        verdict=verdict,
        passed=passed,
        failed=failed,
        isolation=isolation,
        **given,
    )


def test_the_table_counts_problems_by_difficulty():
    rows = [
        graded(1, 0, "competition", 0, 4, "time_limit"),
        graded(1, 1, "competition", 1, 3, "wrong_answer"),
        graded(2, 0, "introductory", 2, 0, "passed"),
        graded(2, 1, "introductory", 1, 1, "wrong_answer", isolation="B"),
    ]
    lines = list(grading.grading_table(rows, ks=[1, 2]))
    table = {line[:17].strip(): re.split(r"  +", line[17:].strip()) for line in lines[:13]}
    assert table[""] == ["all", "introductory", "competition"]
    assert table["problems"] == ["2", "1", "1"]
    assert table["samples"] == ["4", "2", "2"]
    # problem 1 solves none of 2, problem 2 one of 2; two problems drawn again: both the first one to both the other
    assert table["pass@1"] == ["25.0 % (0.0 to 50.0)", "50.0 %", "0.0 %"]
    assert table["pass@2"] == ["50.0 % (0.0 to 100.0)", "100.0 %", "0.0 %"]
    # tests passed: (0 + 1/4) / 2 and (1 + 1/2) / 2
    assert table["test-case average"] == ["43.8 % (12.5 to 75.0)", "75.0 %", "12.5 %"]
    assert table["passed"] == ["25.0 %", "50.0 %", "0.0 %"]
    assert table["wrong_answer"] == ["50.0 %", "50.0 %", "50.0 %"]
    assert table["time_limit"] == ["25.0 %", "0.0 %", "50.0 %"]
    assert set(table) >= set(ProgramVerdict)
    assert lines[13].startswith("match strict, isolation level A; match strict, isolation level B. In brackets: 95 % ")


def test_pass_at_k_is_shown_for_what_every_problem_has_completions_for(files, capsys):
    write(files.completions, completions(*[(DOUBLE, RIGHT)] * 5, *[(ADD, SUM)] * 6))
    assert run(files, "--tests", "1") == 0
    out, error = capsys.readouterr()
    assert re.findall(r"^pass@\d+", out, flags=re.MULTILINE) == ["pass@1", "pass@5"]
    assert error.count("programs run at isolation level") == 1
    assert run(files, "--tests", "1", "--k", "2", "4") == 0
    assert re.findall(r"^pass@\d+", capsys.readouterr().out, flags=re.MULTILINE) == ["pass@2", "pass@4"]
    assert run(files, "--tests", "1", "--k", "1", "6") == 2
    assert f"--k 6: expected as many completions of each problem, got fewer of 1: {DOUBLE} (5)" in (
        capsys.readouterr().err
    )


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--k", "0"], 2, "--k: expected at least 1, got 0"),
        (["--k", "1", "x"], 2, "--k: expected"),
        (["--tests", "0"], 2, "--tests: expected at least 1, got 0"),
        (["--workers", "0"], 2, "--workers: expected at least 1, got 0"),
        (["--match", "strct"], 2, "did you mean 'strict'?"),
        (["--cpu-s", "0"], 1, "cpu_s: expected at least 0.1"),
        (["--memory-mb", "1"], 1, "memory_mb: expected at least 16"),
        (["--problems", "missing.jsonl"], 1, "missing.jsonl"),
        (["--completions", "missing.jsonl"], 1, "missing.jsonl"),
        (["--out", "{folder}"], 2, "expected a file"),
        (["--out", "{folder}/c.jsonl"], 2, "--out and --completions are the same file"),
        (["--out", "{folder}/p.jsonl", "--overwrite"], 2, "--out and --problems are the same file"),
    ],
)
def test_mistakes_are_one_line(files, capsys, arguments, status, said):
    write(files.completions, completions((DOUBLE, RIGHT)))
    assert run(files, *(word.format(folder=files.folder) for word in arguments)) == status
    assert said in error_line(capsys)
    assert files.completions.exists()
    assert files.problems.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no completions in"),
        ('{"problem_id": 7', "c.jsonl: row 1: not JSON"),
        ("[]", "c.jsonl: row 1: expected a JSON object"),
        ('{"completion": "a"}', "row 1: column problem_id is missing: found completion"),
        ('{"problem_id": 7}', "row 1: column completion is missing: found problem_id"),
        ('{"problem_id": "7", "completion": ""}', "column problem_id: expected a whole number"),
        ('{"problem_id": 7, "completion": null}', "column completion: expected a text"),
        ('{"response": "a"}', "row 1: column reference.problem_id is missing: found response"),
        ('{"text": "a"}', "row 1: columns problem_id, completion are missing: found text"),
        ("{}", "row 1: columns problem_id, completion are missing: found no columns"),
        (
            '{"problem_id": 7, "completion": ""}\n\n{"problem_id": 70, "completion": ""}',
            "c.jsonl: row 2: problem 70 is not in",
        ),
    ],
)
def test_wrong_completions_are_one_line(files, capsys, content, said):
    files.completions.write_text(content)
    assert run(files) == 1
    assert said in error_line(capsys)


@pytest.mark.parametrize("name", ["problems", "completions"])
def test_a_pipe_is_refused_as_it_would_be_read_twice(files, capsys, name):
    path = getattr(files, name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert run(files) == 2
    assert f"--{name} {path}: expected a file" in error_line(capsys)


def test_names_of_files_and_levels_steer_no_terminal(files, capsys):
    files.out = files.folder / "g\x1b[31m.jsonl"
    write(files.problems, [row | {"difficulty": "\x1b]0;x\x07"} for row in PROBLEMS])
    write(files.completions, [{"problem_id": PROBLEMS[0]["problem_id"], "completion": "\0"}])
    assert run(files) == 0
    said = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07"} & set(said)


def without(column):
    return json.dumps({key: value for key, value in PROBLEMS[0].items() if key != column})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no problems in"),
        ("{", "p.jsonl: row 1: not JSON"),
        (without("problem_id"), "p.jsonl: row 1: column problem_id is missing"),
        (without("input_output"), "p.jsonl: row 1: column input_output is missing"),
        (without("difficulty"), "p.jsonl: row 1: column difficulty is missing"),
        (
            '{"question": "?", "solutions": ""}',
            "row 1: columns problem_id, starter_code, input_output, difficulty are missing: found question, solutions",
        ),
        (
            "\n\n".join(map(json.dumps, [PROBLEMS[1], PROBLEMS[0], PROBLEMS[1]])),
            f"p.jsonl: row 3: expected different problems, got problem {ADD} twice",
        ),
    ],
)
def test_wrong_problems_are_one_line(files, capsys, content, said):
    write(files.completions, completions((DOUBLE, RIGHT)))
    files.problems.write_text(content)
    assert run(files) == 1
    assert said in error_line(capsys)


def test_a_folder_that_cannot_be_made_is_one_line(files, capsys):
    write(files.completions, completions((DOUBLE, RIGHT)))
    assert run(files, "--out", str(files.problems / "g.jsonl")) == 1
    assert f"error: cannot write {files.problems}/g.jsonl: " in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "verdict"), [((), "runtime_error"), (("--run-empty",), "wrong_answer")])
def test_an_empty_program_is_no_better_than_a_crash_unless_it_is_run(files, arguments, verdict):
    write(files.completions, completions((DOUBLE, ""), (DOUBLE, "# no idea"), (DOUBLE, "1 / 0")))
    assert run(files, *FAST, *arguments) == 0
    graded = results(files)
    assert [row["verdict"] for row in graded] == [verdict, verdict, "runtime_error"]


def test_half_a_surrogate_pair_is_told_by_its_row_and_the_others_are_graded(files, capsys):
    rows = completions((DOUBLE, RIGHT), (DOUBLE, f"{RIGHT}  # \ud83d"))
    files.completions.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run(files, *FAST) == 0
    assert "c.jsonl: row 2: half of a surrogate pair" in capsys.readouterr().err
    assert [row["verdict"] for row in results(files)] == ["passed", "compile_error"]


def test_a_byte_order_mark_and_gzip_hide_no_tests(files):
    write(files.completions, completions((DOUBLE, RIGHT), (ADD, SUM)))
    content = codecs.BOM_UTF8 + files.problems.read_bytes()
    files.problems = files.folder / "p.jsonl.gz"
    files.problems.write_bytes(gzip.compress(content))
    assert run(files, *FAST) == 0
    assert [row["verdict"] for row in results(files)] == ["passed", "passed"]
