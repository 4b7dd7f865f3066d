// What the page asks the server, and how the server's refusals are told.

export class ApiError extends Error {
  constructor(status, text, problem = null) {
    super(text);
    this.status = status;
    this.problem = problem;
  }
}

// Cookies go along by themselves to one's own origin.
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new ApiError(0, "The server does not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  const text = problem?.detail || problem?.title || `The server answered ${response.status}.`;
  throw new ApiError(response.status, text, problem);
}

export async function read(path) {
  return (await ask(path)).json();
}

export async function post(path, body) {
  const response = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

// Reads a list to its end, page by page: `take(page)` gets each as it comes.
export async function readPages(path, take, { limit = 1000, isWanted = () => true } = {}) {
  let cursor = null;
  do {
    const more = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page = await read(`${path}?limit=${limit}${more}`);
    if (!isWanted()) return;
    take(page);
    cursor = page.next_cursor;
  } while (cursor !== null);
}
