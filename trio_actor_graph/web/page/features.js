// What this server can do, by its own description of itself: an older one, or one without an
// optional part, is asked for nothing that it does not have.

import { read } from "./api.js";

let paths = null;

// Whether there is such a path; parameters are written {}: "/v1/graphs/{}/trace".
export async function isServed(path) {
  paths ??= read("/openapi.json").then(
    (document) =>
      new Set(Object.keys(document.paths).map((each) => each.replace(/\{[^}]*\}/g, "{}"))),
  );
  try {
    return (await paths).has(path);
  } catch (error) {
    paths = null; // asked again next time
    throw error;
  }
}
