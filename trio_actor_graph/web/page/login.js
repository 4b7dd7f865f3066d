// The login form: shown when the server wants its token. The token goes to the server once and is
// not kept here; what the browser gets for it is a cookie that no script can read.

import { byId, setText } from "./dom.js";

// Resolves when the server has let us in.
export function login() {
  const dialog = byId("login");
  const form = byId("login-form");
  if (!dialog.open) dialog.showModal();
  dialog.addEventListener("cancel", keepOpen);
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const refusal = await signIn(byId("token").value);
      setText(byId("login-error"), refusal ?? "");
      byId("token").value = "";
      if (refusal !== null) return byId("token").focus();
      dialog.removeEventListener("cancel", keepOpen);
      dialog.close();
      resolve();
    };
  });
}

// Without the token there is nothing to see behind it.
function keepOpen(event) {
  event.preventDefault();
}

// Returns why not, or null.
async function signIn(token) {
  try {
    const response = await fetch("/login", {
      method: "POST",
      body: new URLSearchParams({ token }),
    });
    if (response.ok) return null;
    return response.status === 401
      ? "That is not the token."
      : `The server answered ${response.status}.`;
  } catch {
    return "The server does not answer.";
  }
}
