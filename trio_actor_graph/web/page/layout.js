// Where the nodes of a layered graph go, left to right: crossings are few, neighbours are level,
// nothing overlaps. Pure. Made for some hundred nodes: larger graphs are folded before they come
// here.
//
// After Sugiyama: edges over several layers get a place (a dummy node) in each, layers are ordered
// by the mean place of their neighbours, to and fro, and heights are fitted to those of the
// neighbours by isotonic regression, which is the exact answer to "as near as possible in this
// order, with this distance".

const SWEEPS = 8;
const FITS = 10;
const SPAN_MAX = 40; // a longer edge goes straight: its dummies would fill the layers between
const DUMMIES_MAX = 2_000; // in all, laid out in some 50 ms; where there are more, the long go straight
const DUMMY_HEIGHT = 6;

// nodes: [{ id, layer, height }], edges: [[id, id]]. Returns { width, height, places: Map id -> {
// x, y } of the upper left corner, paths: for each edge its SVG path }.
export function layeredLayout(nodes, edges, { nodeWidth, layerGap, nodeGap }) {
  const layers = layersOf(nodes);
  const items = new Map(layers.flat().map((item) => [item.id, item]));
  const ends = edges.map(([from, to]) => [items.get(from), items.get(to)]);
  const spanMax = longestBent(ends);
  const chains = ends.map(([from, to]) => chainOf(from, to, layers, spanMax));
  order(layers);
  fit(layers, nodeGap);
  let top = Infinity;
  for (const item of layers.flat()) top = Math.min(top, item.y - item.height / 2);
  let height = 0;
  const step = nodeWidth + layerGap;
  for (const item of layers.flat()) {
    item.y -= top;
    item.x = item.layer * step;
    height = Math.max(height, item.y + item.height / 2);
  }
  const places = new Map(
    nodes.map(({ id, height: high }) => [
      id,
      { x: items.get(id).x, y: items.get(id).y - high / 2 },
    ]),
  );
  const paths = chains.map((chain) => pathOf(chain, nodeWidth, layerGap));
  return { width: Math.max(nodeWidth, layers.length * step - layerGap), height, places, paths };
}

// Layers without gaps between their numbers.
function layersOf(nodes) {
  const used = [...new Set(nodes.map((node) => node.layer))].sort((a, b) => a - b);
  const number = new Map(used.map((layer, i) => [layer, i]));
  const layers = used.map(() => []);
  for (const { id, layer, height } of nodes) {
    const item = {
      id,
      layer: number.get(layer),
      height,
      before: [],
      after: [],
      place: 0,
      x: 0,
      y: 0,
    };
    layers[item.layer].push(item);
  }
  return layers;
}

// Up to which span there is room for the dummies of all edges.
function longestBent(ends) {
  const numbers = new Array(SPAN_MAX + 1).fill(0);
  for (const [from, to] of ends) {
    const span = to.layer - from.layer;
    if (span > 1 && span <= SPAN_MAX) numbers[span] += 1;
  }
  let dummies = 0;
  for (let span = 2; span <= SPAN_MAX; span += 1) {
    dummies += numbers[span] * (span - 1);
    if (dummies > DUMMIES_MAX) return span - 1;
  }
  return SPAN_MAX;
}

function chainOf(from, to, layers, spanMax) {
  const chain = [from];
  if (to.layer <= from.layer) return [from, to]; // back, or within a layer: not ordered by
  if (to.layer - from.layer > spanMax) return [from, to];
  let last = from;
  for (let layer = from.layer + 1; layer < to.layer; layer += 1) {
    const dummy = {
      id: Symbol("dummy"),
      layer,
      height: DUMMY_HEIGHT,
      before: [],
      after: [],
      place: 0,
      x: 0,
      y: 0,
    };
    layers[layer].push(dummy);
    join(last, dummy);
    chain.push(dummy);
    last = dummy;
  }
  join(last, to);
  chain.push(to);
  return chain;
}

function join(from, to) {
  from.after.push(to);
  to.before.push(from);
}

function order(layers) {
  const number = (layer) => layer.forEach((item, i) => (item.place = i));
  layers.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isForward = sweep % 2 === 0;
    const way = isForward ? layers : [...layers].reverse();
    for (const layer of way) {
      for (const item of layer) {
        const neighbours = isForward ? item.before : item.after;
        item.wish =
          neighbours.length === 0 ? item.place : mean(neighbours.map((other) => other.place));
      }
      layer.sort((a, b) => a.wish - b.wish || a.place - b.place);
      number(layer);
    }
  }
}

function fit(layers, gap) {
  for (const layer of layers) {
    let y = 0;
    for (const item of layer) {
      item.y = y + item.height / 2;
      y += item.height + gap;
    }
    for (const item of layer) item.y -= y / 2;
  }
  for (let turn = 0; turn < FITS; turn += 1) {
    const way = turn % 2 === 0 ? layers : [...layers].reverse();
    for (const layer of way) {
      const wishes = layer.map((item) => {
        const neighbours = turn % 2 === 0 ? item.before : item.after;
        return neighbours.length === 0 ? item.y : mean(neighbours.map((other) => other.y));
      });
      keepApart(layer, wishes, gap);
    }
  }
}

// The heights nearest to the wishes, in this order and with this distance.
function keepApart(layer, wishes, gap) {
  const offsets = [];
  let offset = 0;
  layer.forEach((item, i) => {
    if (i > 0) offset += layer[i - 1].height / 2 + gap + item.height / 2;
    offsets.push(offset);
  });
  const blocks = []; // neighbours that touch each other move as one
  wishes.forEach((wish, i) => {
    blocks.push({ sum: wish - offsets[i], size: 1 });
    while (blocks.length > 1) {
      const last = blocks.at(-1);
      const previous = blocks.at(-2);
      if (previous.sum / previous.size <= last.sum / last.size) break;
      blocks.pop();
      previous.sum += last.sum;
      previous.size += last.size;
    }
  });
  let i = 0;
  for (const { sum, size } of blocks) {
    for (let n = 0; n < size; n += 1, i += 1) layer[i].y = sum / size + offsets[i];
  }
}

function pathOf(chain, nodeWidth, layerGap) {
  const first = chain[0];
  const last = chain.at(-1);
  if (last.layer <= first.layer) return backPath(first, last, nodeWidth, layerGap);
  let at = first.x + nodeWidth;
  let path = `M${at} ${round(first.y)}`;
  for (let i = 1; i < chain.length; i += 1) {
    const to = chain[i];
    const middle = (at + to.x) / 2;
    path += `C${middle} ${round(chain[i - 1].y)} ${middle} ${round(to.y)} ${to.x} ${round(to.y)}`;
    at = to.x;
    if (i < chain.length - 1) {
      at += nodeWidth;
      path += `H${at}`;
    }
  }
  return path;
}

// From the right side round below to the left side: a loop, or a way back.
function backPath(from, to, nodeWidth, layerGap) {
  const reach = layerGap * 0.8;
  const right = from.x + nodeWidth;
  const below = Math.max(from.y, to.y) + from.height / 2 + 14;
  const [start, end, low] = [round(from.y), round(to.y), round(below)];
  return (
    `M${right} ${start}C${right + reach} ${start} ${right + reach} ${low} ` +
    `${round(right - nodeWidth / 4)} ${low}H${round(to.x + nodeWidth / 4)}` +
    `C${to.x - reach} ${low} ${to.x - reach} ${end} ${to.x} ${end}`
  );
}

function mean(numbers) {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum / numbers.length;
}

function round(number) {
  return Math.round(number * 10) / 10;
}
