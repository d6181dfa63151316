from lightning_marlhf.config.suggest import did_you_mean, nearest


def test_the_nearest_word_is_found_whatever_its_case_and_dashes():
    assert nearest("Max-Steps", ["max_steps", "max_epochs"]) == "max_steps"


def test_nothing_is_suggested_where_nothing_is_near():
    assert nearest("banana", ["max_steps"]) is None
    assert did_you_mean("banana", ["max_steps"]) == ""
