from lightning_marlhf.display.token_lines import place_tokens


def test_lines_are_about_equally_long_and_hold_every_token():
    lines = place_tokens([*"x" * 65, "<eos>"])
    assert [sum(cell.width for cell in line) for line in lines] == [35, 35]
    assert [cell.position for line in lines for cell in line] == list(range(66))
    assert lines[1][0].left == 0


def test_a_short_response_has_one_line_and_an_empty_one_an_empty_line():
    assert [cell.left for cell in place_tokens(["ab", "c"])[0]] == [0, 2]
    assert place_tokens([]) == [[]]


def test_words_are_not_split_and_long_responses_are_cut():
    lines = place_tokens(["word "] * 200)
    assert len(lines) == 5
    assert {cell.text for line in lines for cell in line} == {"word "}


def test_every_token_can_be_seen_and_drawn():
    texts = [cell.text for cell in place_tokens(["\n", "", "日", "$", "x" * 100])[0]]
    assert texts == ["↵", "□", "□", "$", "x" * 46] or texts == ["↵", "□", "□", "$"]


def test_words_that_do_not_fill_lines_evenly_leave_no_line_with_one_word():
    lines = place_tokens(["ab "] * 40)  # 120 characters, of which 15 words fit into a line
    assert [len(line) for line in lines] == [14, 14, 12]
