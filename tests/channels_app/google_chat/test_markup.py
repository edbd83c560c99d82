"""Markdown as Google Chat shows it, and cutting it by bytes."""

from __future__ import annotations

import pytest

from channels_app.google_chat.markup import HIDDEN, MAX_BYTES, plain, split, to_chat


@pytest.mark.parametrize(
    ("markdown", "chat"),
    [
        ("**bold** and __bold__", "*bold* and *bold*"),
        ("*it* and _it_", "_it_ and _it_"),
        ("***both***", "*_both_*"),
        ("**bold *nested* bold**", "*bold _nested_ bold*"),
        ("~~gone~~", "~gone~"),
        ("snake_case_name 2*3*4 a * b * c", "snake_case_name 2*3*4 a * b * c"),
        ("unclosed **bold", "unclosed **bold"),
        ("# Title", "*Title*"),
        ("### A **b** #", "*A b*"),
        ("#hashtag", "#hashtag"),
        ("* one\n+ two\n- three", "- one\n- two\n- three"),
        ("  * deep", "  - deep"),
        ("- [ ] open\n- [x] done", "- ☐ open\n- ☑ done"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("> quoted **x**", "> quoted *x*"),
        ("---", "———"),
        ("[a](https://x.org/b_c_d)", "<https://x.org/b_c_d|a>"),
        ("[**a** `b`](https://x.org)", "<https://x.org|a b>"),
        ('[a](https://x.org "title")', "<https://x.org|a>"),
        ("[a](https://x.org/A_(b))", "<https://x.org/A_(b)|a>"),
        ("[a|b](https://x.org)", "a|b (https://x.org)"),
        ("[https://x.org](https://x.org)", "https://x.org"),
        ("![pic](https://x.org/p.png)", "<https://x.org/p.png|pic>"),
        ("[x](javascript:alert)", "x (javascript:alert)"),
        ("<https://x.org>", "https://x.org"),
        ("`**code**` and ``a ` b``", "`**code**` and ``a ` b``"),
        (r"\*not bold\* \# x", "*not bold* # x"),
        ("a < b > c & d <br>", "a < b > c & d <br>"),
        ("```python\nx = **1**\n```\n**b**", "```\nx = **1**\n```\n*b*"),
        ("~~~\n# code\n~~~", "```\n# code\n```"),
        ("````\n```\n````", "```\n```\n```"),
        ("```\nopen", "```\nopen\n```"),
        (
            "1. x\n\n    ```diff\n    + new\n    - old\n    ```",
            "1. x\n\n```\n    + new\n    - old\n```",
        ),
        ("# C#", "*C#*"),
        ("# a #b ## ", "*a #b*"),
        ("`` a ` b `` c `d` e ``` f", "`` a ` b `` c `d` e ``` f"),
        ("`a` *b* ``*c*", "`a` _b_ ``_c_"),
        ("", ""),
    ],
)
def test_markdown_becomes_chats_markup(markdown: str, chat: str) -> None:
    assert to_chat(markdown) == chat


def test_one_long_cell_does_not_fill_the_other_rows_with_spaces() -> None:
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 4000 + f"| {'x' * 20_000} | 3 |"
    said = to_chat(table)
    assert f"{'x' * 20_000}  3" in said and len(said) < 8 * len(table)


def test_a_table_stands_in_columns() -> None:
    table = "| a | **b** |\n|---|:-:|\n| 1 | 22 \\| 2 |\n| long | 3 |\nend"
    assert to_chat(table) == (
        "```\na     b\n----  ------\n1     22 | 2\nlong  3\n```\nend"
    )


@pytest.mark.parametrize(
    "where", ["{}", "`{}`", "```\n{}\n```", "| {} |\n|---|\n| x |"]
)
@pytest.mark.parametrize("mark", ["<users/all>", "<users/123>", "<USERS/all>"])
def test_a_model_can_mention_nobody(where: str, mark: str) -> None:
    said = to_chat(where.format(mark))
    assert "<users/" not in said.lower()
    assert said.replace(HIDDEN, "").count(mark) == 1, "it is shown as it was written"


@pytest.mark.parametrize(
    "text",
    [
        "<https://evil.example|https://bank.example>",
        "<mailto:a@b.example|c>",
        "[x](javascript:<https://evil.example|y>)",
        "[<https://evil.example|y>](https://x.org)",
        r"\<https://evil.example|https://bank.example>",
        r"<https:\//evil.example|https://bank.example>",
        "<https://evil.example`|`https://bank.example>",
        "<<https://evil.example>|https://bank.example>",
        "<[https://evil.example](https://evil.example)|https://bank.example>",
        "[y](https://evil.example/`|https://bank.example>`)",
        "<https://evil.example[y](https://x.org)z>",
        "[https://bank.example](https://evil.example)",
        "[bank.example/login](https://evil.example)",
        "[HTTPS://bank.example](https://bank.example.evil)",
        "| a |\n|---|\n| <https://evil.example\\|https://bank.example> |",
    ],
)
def test_an_address_hides_only_behind_a_markdown_link(text: str) -> None:
    said = to_chat(text)
    for hiding in ("<https://evil", "<mailto", "<https://bank.example.evil"):
        assert hiding not in said
    assert "https://" in said or "mailto:" in said, "it can be read all the same"


@pytest.mark.parametrize(
    "text",
    [
        r"\<users/all>",
        r"<users\/all>",
        r"\<users\/all\>",
        "<[](users/all)>",
        "<[users/all](javascript:x)>",
        "# <us**ers/all>",
        "<us\3ers/all>",
        "<us\4ers/all>",
        "| a |\n|---|\n| <us*ers/all> |",
        r"[\<users/all>](https://x.org)",
    ],
)
def test_no_marks_within_let_a_model_mention_somebody(text: str) -> None:
    said = to_chat(text)
    assert "<users/" not in said and f"<{HIDDEN}users/" in said


@pytest.mark.parametrize(
    "link",
    [
        "[docs.x.org](https://docs.x.org/a_b)",
        "[https://x.org/](https://x.org)",
        "[e.g. this](https://x.org)",
        "[a@x.org](mailto:a@x.org)",
    ],
)
def test_words_that_name_their_own_address_are_a_link(link: str) -> None:
    words, address = link[1:-1].split("](")
    assert to_chat(link) == f"<{address}|{words}>"


@pytest.mark.parametrize("text", ["\2", "\0030\003", "a\0031\003b", "\0039\003"])
def test_characters_used_inside_cannot_be_smuggled_in(text: str) -> None:
    assert not set("\2\3") & set(to_chat(f"{text} `x` **y**"))


@pytest.mark.parametrize(
    "text",
    [
        "plain words. " * 9000,
        "Öl und ß. " * 9000,
        "😀" * 30_000,
        "**bold** <users/all> " * 5000,
        "\n\n".join(["Absatz mit Umlauten: äöü. " * 40] * 100),
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 9000,
        "# " + "x" * 70_000,
    ],
    ids=lambda text: text[:10],
)
def test_every_part_fits_and_nothing_is_lost(text: str) -> None:
    parts = split(text)
    assert len(parts) > 1
    assert all(0 < len(to_chat(part).encode()) <= MAX_BYTES for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_code_that_is_cut_is_closed_and_opened_again() -> None:
    parts = split("```py\n" + "x = 'é'\n" * 9000 + "```\nafter")
    assert len(parts) > 1
    for part in parts[:-1]:
        assert part.startswith("```py\n") and part.endswith("\n```")
    assert "".join(parts).count("x = 'é'") == 9000


@pytest.mark.parametrize(
    "text",
    [
        "# x" + " " * 200_000 + "y",
        "# " + "x #" * 70_000 + "y",
        "-" + " " * 200_000 + "y",
        "a | b\n" + "--" + " " * 200_000 + "x|",
        "[a](" + " " * 200_000 + "y z)",
        "".join("x" + "`" * length for length in range(1, 600)),
        "`` ` " * 40_000,
        "[a](x '" * 20_000,
    ],
    ids=lambda text: text[:10],
)
def test_texts_made_to_cost_time_cost_no_more_than_others(text: str) -> None:
    # Minutes where the time grows with the square: the limit of every test ends that.
    assert to_chat(text)


def test_short_texts_are_one_part_and_empty_ones_none() -> None:
    assert split("short") == ["short"]
    assert split("") == split(" \n ") == []


@pytest.mark.parametrize("size", [1000, 5000])
def test_a_smaller_limit_holds_too(size: int) -> None:
    parts = split("Wörter und mehr. " * 2000, size)
    assert all(len(to_chat(part).encode()) <= size for part in parts)


def test_names_carry_no_marks() -> None:
    assert plain("In_ara *<users/all>*\n|x`") == "In ara users/all x"
