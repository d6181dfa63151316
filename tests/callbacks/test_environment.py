import subprocess

from lightning_marlhf.callbacks.environment import describe_environment, git_commit, source_digest


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_read_from_loose_and_packed_references_and_worktrees(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init")
    assert git_commit(repository) is None  # before the first commit
    git(repository, "commit", "--allow-empty", "-m", "one")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_commit(repository) == commit
    git(repository, "pack-refs", "--all")
    assert git_commit(repository) == commit
    git(repository, "worktree", "add", str(tmp_path / "tree"), "-b", "other")
    assert git_commit(tmp_path / "tree") == commit
    git(repository, "checkout", "--detach")
    assert git_commit(repository) == commit


def test_outside_a_repository_there_is_no_commit(tmp_path):
    assert git_commit(tmp_path) is None


def test_a_changed_source_has_another_digest(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = source_digest(tmp_path)
    assert source_digest(tmp_path) == before
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_digest(tmp_path) != before


def test_the_environment_names_command_versions_and_hardware(monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "lightning_marlhf", "a b"])
    environment = describe_environment()
    assert environment["command"] == "python -m lightning_marlhf 'a b'"
    assert {"torch", "lightning", "transformers"} <= set(environment["versions"])
    assert environment["hardware"]["memory_gb"] > 0
