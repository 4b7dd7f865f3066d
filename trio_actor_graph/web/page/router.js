// Addresses within the page: #/graphs/3 and #/graphs/3/tasks/17, so that a task can be linked to.

export function routeOf(hash) {
  const match = /^#\/graphs\/(\d+)(?:\/tasks\/(\d+))?$/.exec(hash);
  if (match === null) return { graph: null, task: null };
  return { graph: Number(match[1]), task: match[2] === undefined ? null : Number(match[2]) };
}

export function graphAddress(graph) {
  return `#/graphs/${graph}`;
}

export function taskAddress(graph, task) {
  return `#/graphs/${graph}/tasks/${task}`;
}
