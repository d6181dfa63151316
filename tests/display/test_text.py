from lightning_marlhf.display.text import printable


def test_characters_that_hide_or_reorder_text_are_replaced():
    assert printable("a\x00b\u202ec\r\nd\te\ud800") == "a\ufffdb\ufffdc\nd\te\ufffd"
