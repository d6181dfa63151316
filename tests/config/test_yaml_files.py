import pytest

from lightning_marlhf.config.yaml_files import ConfigError, look_up, read_yaml


def read(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    return read_yaml(path)


def test_scientific_notation_is_a_number(tmp_path):
    assert read(tmp_path, "{a: 1e-5, b: 2E+3, c: 1.5e-5, d: e5}") == {"a": 1e-5, "b": 2000.0, "c": 1.5e-5, "d": "e5"}


def test_a_file_of_comments_is_empty(tmp_path):
    assert read(tmp_path, "# nothing yet\n") == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model:\n  a: [1\n", r"x\.yaml:3:1: not valid YAML"),
        ("- 1\n", "expected `key: value` lines, got a list"),
        ("[" * 20_000, "not valid YAML"),
        ("day: 2020-99-99", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("? [a]\n: b", "not valid YAML"),
        ('a: "\0"', "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", r"x\.yaml:3:1: .*'a' is duplicated"),
        ("c: {a: 1, a: 1}\n", r"x\.yaml:1:11: .*'a' is duplicated"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_with_the_place(tmp_path, content, said):
    with pytest.raises(ConfigError, match=rf"x\.yaml.*{said}|{said}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_the_nearest_there_is(tmp_path):
    (tmp_path / "ppo.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"pop\.yaml.*did you mean .*ppo\.yaml"):
        read_yaml(tmp_path / "pop.yaml")
    with pytest.raises(ConfigError, match="there is no folder"):
        read_yaml(tmp_path / "nowhere/ppo.yaml")


def test_what_is_merged_into_a_mapping_is_not_there_twice(tmp_path):
    tree = read(tmp_path, "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\nd: &d [*d]\n")
    assert {key: tree[key] for key in "abc"} == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_a_value_is_looked_up_by_its_dotted_path():
    tree = {"model": {"init_args": {"kl": {"target": 3}}}}
    assert look_up(tree, "model.init_args.kl.target") == 3
    assert look_up(tree, "model.init_args.seed.x") is None
