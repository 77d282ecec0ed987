"""Render HTML pages from templates, with a content security policy."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import jinja2

# Names of templates, styles and scripts are paths in the package: "reports/base.html".
_FILES = jinja2.PackageLoader("pipeline", "")
_TEMPLATES = jinja2.Environment(
    loader=_FILES,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}


def render(
    template: str, styles: Sequence[str], scripts: Sequence[str] = (), **values: object
) -> str:
    """Return a page that needs no other file but its images.

    The template escapes all values. The page's policy blocks all other scripts, and all requests
    except for images beside the page.

    Args:
        template: its name, as "reports/evaluation.html"; it extends "reports/base.html".
        styles: names of the CSS files that follow "reports/base.css".
        scripts: names of the JavaScript files, joined in this order to one script.
        values: the variables of the template; a missing one is an error.
    """
    style = "".join(map(_text, ("reports/base.css", *styles)))
    script = "\n".join(map(_text, scripts))
    return _TEMPLATES.get_template(template).render(
        values, policy=_policy(style, script), style=style, script=script
    )


def cell(value: object) -> str:
    """Format a value for a table: four decimals below 1, else four digits; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:#.4g}"
    return str(value)


def _rows(columns: Mapping[str, Sequence[object]]) -> Iterator[tuple[object, ...]]:
    return zip(*columns.values(), strict=True)


def _headed(columns: Mapping[str, Sequence[object]]) -> bool:
    """Return whether a table has headings: more than one column with a name."""
    return sum(map(bool, columns)) > 1


_TEMPLATES.filters |= {"cell": cell, "headed": _headed, "rows": _rows}


def _text(name: str) -> str:
    """Return a file without rendering it, since braces are part of CSS and JavaScript."""
    return _FILES.get_source(_TEMPLATES, name)[0]


def _policy(style: str, script: str) -> str:
    """Return the content security policy: images beside the page, this style, this script."""
    parts = ["default-src 'none'", "img-src 'self' file:", f"style-src '{_digest(style)}'"]
    if script:
        parts.append(f"script-src '{_digest(script)}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    """Return the hash of an inline script or style for the policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
