// How far down a graph its tasks are. Pure.

// Gives each task its stage anew: the longest way to it from a task that waits on nothing. Who has
// created a task comes before it too. Tasks that lead back to themselves, which no graph should
// have, stay where they are.
export function restage(order, tasks) {
  const after = new Map(order.map((task) => [task, []]));
  const open = new Map(); // how many of those before it have no stage yet
  for (const task of order) {
    const before = new Set([...task.predecessors, task.creator]);
    let number = 0;
    for (const uid of before) {
      const other = tasks.get(uid);
      if (other === undefined) continue;
      after.get(other).push(task);
      number += 1;
    }
    open.set(task, number);
  }
  const reached = new Map();
  const next = order.filter((task) => open.get(task) === 0);
  for (const task of next) task.stage = 0;
  for (let at = 0; at < next.length; at += 1) {
    for (const task of after.get(next[at])) {
      const left = open.get(task) - 1;
      open.set(task, left);
      reached.set(task, Math.max(reached.get(task) ?? 0, next[at].stage + 1));
      if (left > 0) continue;
      task.stage = reached.get(task);
      next.push(task);
    }
  }
}
