"""Texts that neither a file name nor a variable can hold are errors at their place, wherever they are used."""

import pytest

from ducttape.syntax.diagnostics import TapeError
from ducttape.workflow.loader import load

TAPES = {
    "an input": ('task a < x="b\\u0000c" > y {\n}\n', "1:12"),
    "a param": ('task a > y :: x="\\ud800" {\n}\n', "1:17"),
    "a branch": ('task a > y :: x=(P: b="\\u0000" c) {\n}\n', "1:23"),
    "an import": ('import "\\u0000"\n', "1:8"),
    "a directive": ('global {\n  ducttape_output="\\u0000"\n}\n', "2:19"),
    "a default config": ('global {\n  ducttape_default_config="\\u0000"\n}\n', "2:27"),
    "a package": (
        "global {\n  ducttape_experimental_packages=true\n}\n"
        'package p :: .versioner=disk .path="\\u0000" {\n}\ntask a : p {\n}\n',
        "4:36",
    ),
    "a home of nobody": ('import "~nobody-at-all/x"\n', "1:8"),
    "a long name": (f'import "{"x" * 300}"\n', "1:8"),
}


@pytest.mark.parametrize("name", TAPES)
def test_error(tmp_path, name):
    text, place = TAPES[name]
    tape = tmp_path / "x.tape"
    tape.write_text(text)
    with pytest.raises(TapeError) as raised:
        load(tape, user_file=False)
    assert f"{tape}:{place}: error: " in str(raised.value)
