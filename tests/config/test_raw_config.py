import pytest

from lightning_marlhf.config.yaml_files import (
    ConfigError,
    find_paths,
    look_up,
    merge,
    read_yaml,
    sources,
)


def tree_of(*arguments: str, accepted=lambda name: ()):
    tree = {}
    for source in sources(arguments):
        tree = merge(tree, source.tree, accepted=accepted)
    return tree


def test_later_files_and_options_go_before_earlier_ones(tmp_path):
    (tmp_path / "a.yaml").write_text("trainer: {max_steps: 1, devices: 2}\n")
    (tmp_path / "b.yaml").write_text("trainer: {max_steps: 3}\n")
    tree = tree_of(
        "--config", f"{tmp_path}/a.yaml", f"--config={tmp_path}/b.yaml", "--trainer.devices", "4"
    )
    assert tree == {"trainer": {"max_steps": 3, "devices": 4}}


def test_a_short_option_goes_into_the_init_args_of_its_class():
    tree = tree_of(
        "--model", "toy.Toy", "--model.condition", "toy.Fixed", "--model.condition.n=null"
    )
    condition = {"class_path": "toy.Fixed", "init_args": {"n": None}}
    assert tree == {"model": {"class_path": "toy.Toy", "init_args": {"condition": condition}}}


def test_a_path_is_no_class_when_settings_replace_it():
    assert merge({"policy": "google/gemma-2b"}, {"policy": {"config": {}}}) == {
        "policy": {"config": {}}
    }


def test_another_class_keeps_only_the_settings_that_it_has_too():
    old = {"class_path": "a.A", "init_args": {"rows": 1, "noise": 2}}
    new = merge(old, {"class_path": "a.B"}, accepted=lambda name: {"rows"} if name == "a.B" else ())
    assert new == {"class_path": "a.B", "init_args": {"rows": 1}}


def test_a_plus_appends_to_a_list():
    assert merge({"callbacks": ["a"]}, {"callbacks+": "b"}) == {"callbacks": ["a", "b"]}


def test_a_section_may_stand_in_a_file_of_its_own(tmp_path):
    (tmp_path / "part.yaml").write_text("class_path: toy.Toy\n")
    (tmp_path / "all.yaml").write_text("model: part.yaml\n")
    assert tree_of("--config", f"{tmp_path}/all.yaml") == {"model": {"class_path": "toy.Toy"}}


def test_an_option_without_a_value_is_a_flag():
    assert tree_of("--overwrite", "--trainer.max_steps=2") == {
        "overwrite": True,
        "trainer": {"max_steps": 2},
    }


def test_wrong_yaml_is_named_with_its_place(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model:\n  a: [1\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:3:1: not valid YAML"):
        read_yaml(path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected `key: value` lines, got a list"):
        read_yaml(path)


def test_a_missing_file_is_named_with_the_nearest_there_is(tmp_path):
    (tmp_path / "ppo.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"no config file .*pop\.yaml.*did you mean .*ppo\.yaml"):
        read_yaml(tmp_path / "pop.yaml")
    with pytest.raises(ConfigError, match="there is no folder"):
        read_yaml(tmp_path / "nowhere/ppo.yaml")


def test_a_word_that_is_no_option_is_refused():
    with pytest.raises(ConfigError, match="'bogus' is not an option"):
        tree_of("bogus")


def test_paths_are_found_by_their_end_without_init_args():
    tree = {"model": {"init_args": {"kl": {"target": 3}}}}
    assert find_paths(tree, "model.kl.target") == [("model.init_args.kl.target", 3)]
    assert look_up(tree, "model.init_args.kl.target") == 3
    assert look_up(tree, "model.init_args.seed.x") is None


@pytest.mark.parametrize(
    "content", ["[" * 20_000, "day: 2020-99-99", "a: " + "9" * 5000, "? [a]\n: b", 'a: "\0"']
)
def test_yaml_that_cannot_be_built_is_one_line(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"a\.yaml.*: not valid YAML"):
        read_yaml(path)


@pytest.mark.parametrize("content", ["a: 1\nb: 2\na: 3\n", "c: {a: 1, a: 1}\n"])
def test_a_key_that_is_there_twice_is_named_with_its_place(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"x\.yaml:\d:\d+: .*'a' is there twice"):
        read_yaml(path)


def test_what_is_merged_into_a_mapping_is_not_there_twice(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_a_key_that_is_no_text_is_left_to_the_check_of_keys():
    assert merge({"a": 1}, {1: 2, None: 3}) == {"a": 1, 1: 2, None: 3}


@pytest.mark.parametrize("text", ["2020-99-99", "[" * 20_000])
def test_an_option_that_is_no_yaml_is_text(text):
    assert tree_of(f"--a={text}") == {"a": text}
