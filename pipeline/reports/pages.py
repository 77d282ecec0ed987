"""What the HTML pages share: their opening, and a policy that lets nothing run or be fetched."""

import base64
import hashlib
from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
"""


def opening(title: str) -> str:
    """Return the page up to what is seen of it: `</body>` and `</html>` are left to close."""
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(STYLE)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )


def policy(style: str, script: str | None = None) -> str:
    """Return what a page may do: show pictures beside it, take this style, run this script."""
    parts = ["default-src 'none'", "img-src 'self' file:", f"style-src '{_digest(style)}'"]
    if script is not None:
        parts.append(f"script-src '{_digest(script)}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    """Return what a policy calls an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
