"""TeX equations as MathML, which browsers draw by themselves: the pages of `lnl reproduce` need no network.

Covers what the notebooks write: letters, sub- and superscripts, fractions, roots, accents, sums, text.
A command it does not know is shown as it was typed.
"""

from __future__ import annotations

import html
import re
import unicodedata

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "chi",
    "psi",
    "omega",
]
IDENTIFIERS = {
    name: unicodedata.lookup(f"GREEK SMALL LETTER {'LAMDA' if name == 'lambda' else name}") for name in GREEK
}
IDENTIFIERS |= {name.capitalize(): letter.upper() for name, letter in IDENTIFIERS.items()}
IDENTIFIERS |= {
    "varepsilon": "ε",
    "varphi": "φ",
    "ell": "ℓ",
    "infty": "∞",
    "partial": "∂",
    "nabla": "∇",
    "dots": "…",
    "ldots": "…",
    "cdots": "⋯",
    "top": "⊤",
    "emptyset": "∅",
}
OPERATORS = {
    "sum": "∑",
    "prod": "∏",
    "int": "∫",
    "cdot": "⋅",
    "times": "×",
    "pm": "±",
    "to": "→",
    "mapsto": "↦",
    "rightarrow": "→",
    "leftarrow": "←",
    "leq": "≤",
    "le": "≤",
    "geq": "≥",
    "ge": "≥",
    "neq": "≠",
    "ne": "≠",
    "approx": "≈",
    "sim": "∼",
    "equiv": "≡",
    "propto": "∝",
    "in": "∈",
    "notin": "∉",
    "subset": "⊂",
    "cup": "∪",
    "cap": "∩",
    "mid": "∣",
    "|": "‖",
    "Vert": "‖",
    "ll": "≪",
    "gg": "≫",
    "langle": "⟨",
    "rangle": "⟩",
    "lfloor": "⌊",
    "rfloor": "⌋",
    "odot": "⊙",
    "oplus": "⊕",
    "circ": "∘",
    "forall": "∀",
    "exists": "∃",
} | {c: c for c in "{}%&_#$"}
FUNCTIONS = [
    "log",
    "ln",
    "exp",
    "max",
    "min",
    "arg",
    "argmax",
    "argmin",
    "sup",
    "inf",
    "det",
    "dim",
    "Pr",
    "sin",
    "cos",
    "tanh",
]
LIMITS = {"∑", "∏", "max", "min", "argmax", "argmin", "sup", "inf", "arg max", "arg min"}
ACCENTS = {
    "hat": "^",
    "widehat": "^",
    "bar": "¯",
    "overline": "‾",
    "tilde": "~",
    "widetilde": "~",
    "vec": "→",
    "dot": "˙",
}
SPACES = {",": 0.17, ":": 0.22, ";": 0.28, " ": 0.25, "quad": 1, "qquad": 2, "\\": 1, "!": 0}
ALPHABETS = {"mathcal": "SCRIPT", "mathscr": "SCRIPT", "mathbb": "DOUBLE-STRUCK", "mathfrak": "FRAKTUR"}
BOLD = {"mathbf", "boldsymbol", "bm"}
UPRIGHT = {"text", "textrm", "mathrm", "textbf", "textit", "operatorname", "mathsf", "texttt"}
IGNORED = {"displaystyle", "limits", "nolimits"}
GROWING = {
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
}  # before a bracket as high as its content


def mathml(tex: str, display: bool = False) -> str:
    """The `<math>` element for a TeX equation without its dollar signs; `display` puts it on its own line."""
    tokens = re.findall(r"\\[A-Za-z]+\*?|\\.|\d+(?:\.\d+)?|\s+|.", tex.strip(), flags=re.S)[::-1]
    nodes = []
    while tokens:  # a closing brace too many ends a row early; what follows is still shown
        nodes.append(_row(tokens))
    kind = ' display="block"' if display else ""
    return f"<math{kind}><mrow>{''.join(nodes)}</mrow></math>"


def _row(tokens: list[str]) -> str:
    """Nodes up to the closing brace or the end, scripts attached to what they follow."""
    nodes: list[str] = []
    while tokens:
        token = tokens.pop()
        if token == "}":
            break
        if token.isspace() or token == "&":
            continue
        if token in "_^":
            base = nodes.pop() if nodes else "<mrow></mrow>"
            scripts = {token: _argument(tokens)}
            if tokens and tokens[-1] in "_^" and tokens[-1] != token:
                other = tokens.pop()
                scripts[other] = _argument(tokens)
            nodes.append(_scripts(base, scripts))
        else:
            node = _node(token, tokens)
            if node:
                nodes.append(node)
    return "".join(nodes)


def _scripts(base: str, scripts: dict[str, str]) -> str:
    under = re.sub("<[^>]*>", "", base) in LIMITS
    names = (
        {"_": "munder", "^": "mover", "_^": "munderover"}
        if under
        else {"_": "msub", "^": "msup", "_^": "msubsup"}
    )
    which = "".join(s for s in "_^" if s in scripts)
    return f"<{names[which]}>{base}{''.join(scripts[s] for s in which)}</{names[which]}>"


def _argument(tokens: list[str]) -> str:
    """The next node, or the row in braces."""
    while tokens:
        token = tokens.pop()
        if not token.isspace():
            return f"<mrow>{_node(token, tokens)}</mrow>"
    return "<mrow></mrow>"


def _raw(tokens: list[str]) -> str:
    """The text in the braces that follow, as typed (or the single token)."""
    text, depth = "", 0
    while tokens:
        token = tokens.pop()
        depth += (token == "{") - (token == "}")
        if token not in "{}":
            text += token
        if (depth == 0 and text.strip()) or (depth < 1 and token == "}"):
            break
    return text


def _node(token: str, tokens: list[str]) -> str:
    """One token (with its arguments) as MathML."""
    name = token[1:].rstrip("*") if token.startswith("\\") and len(token) > 1 else ""
    if token == "{":
        return f"<mrow>{_row(tokens)}</mrow>"
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token.isalpha():
        return f"<mi>{token}</mi>"
    if token == "'":
        return "<mo>′</mo>"
    if token in "()[]|":
        return f'<mo stretchy="false">{token}</mo>'
    if name in GROWING:
        following = tokens.pop() if tokens else ""
        return f"<mo>{html.escape(OPERATORS.get(following[1:], following))}</mo>"
    if not name:
        return f"<mo>{html.escape({'-': '−', '*': '∗'}.get(token, token))}</mo>"
    if name in ("frac", "tfrac", "dfrac"):
        top = _argument(tokens)
        return f"<mfrac>{top}{_argument(tokens)}</mfrac>"
    if name == "sqrt":
        return f"<msqrt>{_argument(tokens)}</msqrt>"
    if name in ACCENTS:
        wide = "true" if name in ("overline", "widehat", "widetilde") else "false"
        return f'<mover accent="true">{_argument(tokens)}<mo stretchy="{wide}">{ACCENTS[name]}</mo></mover>'
    if name in UPRIGHT:
        text = html.escape(_raw(tokens))
        return f"<mi>{text}</mi>" if name == "operatorname" else f"<mtext>{text}</mtext>"
    if name in ALPHABETS:
        return "".join(_letter(c, ALPHABETS[name]) for c in _raw(tokens))
    if name in BOLD:
        return f'<mrow style="font-weight: bold">{_argument(tokens)}</mrow>'
    if name in SPACES:
        return f'<mspace width="{SPACES[name]}em"/>' if SPACES[name] else ""
    if name in IGNORED:
        return ""
    if name in IDENTIFIERS:
        return f"<mi>{IDENTIFIERS[name]}</mi>"
    if name in OPERATORS:
        return f"<mo>{html.escape(OPERATORS[name])}</mo>"
    if name in FUNCTIONS:
        return f"<mi>{name}</mi>"
    return f"<mtext>{html.escape(token)}</mtext>"


def _letter(char: str, alphabet: str) -> str:
    case = "CAPITAL" if char.isupper() else "SMALL"
    for prefix in ("MATHEMATICAL ", ""):  # some letters are older than their alphabet: ℒ, ℝ, ...
        try:
            return f"<mi>{unicodedata.lookup(f'{prefix}{alphabet} {case} {char.upper()}')}</mi>"
        except KeyError:
            pass
    return f"<mn>{html.escape(char)}</mn>" if char.isdigit() else f"<mi>{html.escape(char)}</mi>"
