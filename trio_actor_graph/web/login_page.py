"""The page in front of the live page: a form that asks for the token.

It is the one thing that is given to whoever asks, so there is no data in it, and it needs nothing
else from the server: its style is in it, allowed by its digest. Its colours are those of
`page/style.css`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from trio_actor_graph.web.access import CHALLENGE
from trio_actor_graph.web.answers import Answer

STYLE: Final = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body {
  display: grid; place-items: center; min-height: 100vh; margin: 0; padding: 16px;
  background: light-dark(#f4f5f7, #0e1116); color: light-dark(#1a2029, #e4e8ee);
  font: 13px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main {
  width: min(440px, 100%); padding: 20px 22px; background: light-dark(#ffffff, #161a21);
  border: 1px solid light-dark(#dfe3e8, #2a313b); border-radius: 12px;
}
h1, p { margin: 0; }
h1 { font-size: 16px; font-weight: 650; margin-bottom: 8px; }
.brand {
  display: flex; align-items: center; gap: 8px; margin-bottom: 18px; font-size: 14px;
  font-weight: 650;
}
.running { fill: light-dark(#3f8ae6, #4a93e8); }
.succeeded { fill: light-dark(#58b67c, #2f8a52); }
label { display: grid; gap: 4px; margin-top: 14px; color: light-dark(#586272, #9aa5b4); }
input {
  width: 100%; height: 28px; padding: 0 8px; font: inherit;
  background: light-dark(#ffffff, #161a21); color: light-dark(#1a2029, #e4e8ee);
  border: 1px solid light-dark(#c3cad3, #3d4653); border-radius: 6px;
}
.error { margin-top: 6px; color: light-dark(#c0271d, #ff8078); }
button {
  display: block; height: 30px; margin: 18px 0 0 auto; padding: 0 14px; font: inherit;
  background: light-dark(#0b5fc0, #2f74cc); color: #fff; border: 0; border-radius: 6px;
  cursor: pointer;
}
:focus-visible { outline: 2px solid light-dark(#0b5fc0, #8cc2ff); outline-offset: 1px; }
"""

_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

LOGIN_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_LOGO: Final = """\
<svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">\
<path d="M8 16 24 7M8 16l16 9" stroke="currentColor" stroke-width="2.5" fill="none" opacity=".45"/>\
<circle class="running" cx="8" cy="16" r="5"/><circle class="succeeded" cx="24" cy="7" r="5"/>\
<circle class="succeeded" cx="24" cy="25" r="5"/></svg>"""

_HEAD: Final = f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in: trio-actor-graph</title>
<style>{STYLE}</style>
<main>
<p class="brand">{_LOGO}trio-actor-graph
<h1>Sign in</h1>
<p>This server wants its token. It is in the file that the server named when it started; only its
owner can read that.
<form method="post" action="/login">
<input type="text" name="username" value="token" autocomplete="username" hidden>
<label>Token
<input id="token" name="token" type="password" required autofocus
 autocomplete="current-password">
</label>
"""

_REFUSAL: Final = '<p class="error" role="alert">That is not the token.</p>\n'

_TAIL: Final = """\
<button>Sign in</button>
</form>
</main>
</html>
"""


def login_page(*, is_repeated: bool = False) -> Answer:
    """The form that asks for the token; if a wrong one was given, once more."""
    headers = {"Content-Security-Policy": LOGIN_POLICY}
    if is_repeated:
        headers["WWW-Authenticate"] = CHALLENGE
    return Answer(
        (_HEAD + (_REFUSAL if is_repeated else "") + _TAIL).encode(),
        status=401 if is_repeated else 200,
        media_type="text/html; charset=utf-8",
        headers=headers,
    )
