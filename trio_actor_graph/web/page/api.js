// What the page asks the server, and how the server's refusals are told.

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// Returns what the server answers, null for nothing; an answer may also be cut off while it comes.
// Cookies go along by themselves to one's own origin.
async function ask(path, options = {}) {
  let response, answer;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
    answer = await response.text();
  } catch {
    throw new ApiError(0, "The server does not answer.");
  }
  const value = parsed(answer);
  if (response.ok && value !== undefined) return value;
  const text = value?.detail || value?.title || `The server answered ${response.status}.`;
  throw new ApiError(response.status, text);
}

function parsed(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return undefined; // of a proxy, which may say anything
  }
}

export function read(path) {
  return ask(path);
}

export function post(path, body) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
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
