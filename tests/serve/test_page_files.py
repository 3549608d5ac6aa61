"""What the files of the page promise, read without a browser."""

import re
from pathlib import Path

import causvid

PAGE = Path(causvid.__file__).parent / "serve" / "page"
HTML = (PAGE / "index.html").read_text()
FILES = {path.name: path.read_text() for path in PAGE.iterdir()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}


def test_the_scripts_name_only_elements_that_the_page_has():
    has = set(re.findall(r'\bid="([^"]+)"', HTML))
    wanted = {name for text in SCRIPTS.values() for name in re.findall(r'\bpart\(\s*"([^"]+)"', text)}
    drawn = {f"i-{name}" for text in SCRIPTS.values() for name in re.findall(r'\bicon\("([^"]+)"', text)}
    shown = set(re.findall(r'<use href="#([^"]+)"', HTML))

    assert wanted | drawn | shown <= has


def test_every_file_is_used_and_every_import_is_there():
    used = {"index.html", *re.findall(r'static/([\w.]+)"', HTML)}
    used |= {name for text in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}

    assert used == set(FILES)


def test_the_page_asks_nobody_but_its_server():
    named = {
        url for text in FILES.values() for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w./-]*", text)
    }

    assert named <= {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_text_never_becomes_markup_or_code():
    ways = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")

    assert not [name for name, text in SCRIPTS.items() if ways.search(text)]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", HTML), (
        "the server forbids inline code and style"
    )


def test_every_script_says_what_it_is_about():
    assert all(text.startswith("/**\n * ") and text.count("\n") <= 300 for text in SCRIPTS.values())


def test_the_embedded_model_knows_every_word_of_its_examples():
    examples = re.findall(r'"([a-z ,]+)"', SCRIPTS["examples.js"].partition("tiny: [")[2].partition("]")[0])
    pipeline = causvid.load("tiny")

    assert len(examples) == 4
    assert [word for example in examples for word in pipeline.unknown_words(example)] == []
