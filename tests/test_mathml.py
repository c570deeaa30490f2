"""Equations as MathML: well-formed, nothing lost."""

import re
import xml.dom.minidom

import pytest

from lnl_kit.reproduce.mathml import mathml


@pytest.mark.parametrize(
    "tex, expected",
    [
        (r"\pi_1", "<msub><mi>π</mi><mn>1</mn></msub>"),
        (r"x^2_i", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        (r"\frac{a}{2}", "<mfrac><mi>a</mi><mn>2</mn></mfrac>"),
        (r"\sum_{i=1}^N", "<munderover><mo>∑</mo><mi>i</mi><mo>=</mo><mn>1</mn><mi>N</mi></munderover>"),
        (r"\max_k", "<munder><mi>max</mi><mi>k</mi></munder>"),
        (r"\mathcal{L}\mathbb{R}", "<mi>ℒ</mi><mi>ℝ</mi>"),
        (r"\text{a b}", "<mtext>a b</mtext>"),
        (r"\tilde x", '<mover accent="true"><mi>x</mi><mo stretchy="false">~</mo></mover>'),
        (r"a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
        (r"\lambda\Lambda\theta", "<mi>λ</mi><mi>Λ</mi><mi>θ</mi>"),
        (r"\unheard", r"<mtext>\unheard</mtext>"),
        (r"\sqrt{x}", "<msqrt><mi>x</mi></msqrt>"),
    ],
)
def test_each_construct(tex, expected):
    made = mathml(tex)
    xml.dom.minidom.parseString(made)
    assert re.sub(r"</?(mrow|math)[^>]*>", "", made) == expected


@pytest.mark.parametrize(
    "tex",
    [
        r"a}b",
        "{a",
        "_",
        "^",
        r"\frac",
        r"\frac{a",
        r"x^",
        r"\text{a",
        r"\mathbf",
        "a_b_c",
        "\\",
        r"-(1-\pi_1)\ln(1-\pi_1) & \left\| p \right\|^2",
    ],
)
def test_mistakes_are_shown_not_raised(tex):
    made = mathml(tex, display=True)
    xml.dom.minidom.parseString(made)
    for letter in re.findall(r"(?<![\\a-z])[abcpx](?![a-z])", tex):
        assert f">{letter}<" in made
