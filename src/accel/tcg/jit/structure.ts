/**
 * From a control-flow graph to WebAssembly's structured control flow, after
 * N. Ramsey, "Beyond Relooper" (ICFP 2022): the dominator tree gives the nesting,
 * loop headers become loops, nodes with several forward predecessors the ends of
 * blocks. Edges that make the graph irreducible are reported, not structured.
 */

/** Nodes are numbered from 0, the entry, in any order; `successors[n]` lists the nodes that n can go to. */
export interface Graph {
  readonly successors: readonly (readonly number[])[];
}

export interface Structure {
  /** Nodes that are the target of an edge from a node they dominate. */
  readonly isLoopHeader: readonly boolean[];
  /** Nodes with two or more forward predecessors. */
  readonly isMerge: readonly boolean[];
  /** Children in the dominator tree that are merges, in reverse postorder. */
  readonly mergeChildren: readonly (readonly number[])[];
  /** Whether the edge goes back to a loop header around `from`. */
  isBackEdge(from: number, to: number): boolean;
  /** Whether the edge enters a loop other than by its header: it can not be structured. */
  isIrreducible(from: number, to: number): boolean;
}

export function analyze(graph: Graph): Structure {
  const order = reversePostorder(graph);
  const position = new Int32Array(graph.successors.length).fill(-1);
  order.forEach((node, i) => {
    position[node] = i;
  });
  const dominator = dominators(graph, order, position);
  const dominates = (a: number, b: number): boolean => {
    let at = b;
    while (position[at] > position[a]) at = dominator[at];
    return at === a;
  };
  const count = graph.successors.length;
  const isLoopHeader = new Array<boolean>(count).fill(false);
  const forwardPredecessors = new Int32Array(count);
  for (const from of order) {
    for (const to of graph.successors[from]) {
      if (position[to] > position[from]) forwardPredecessors[to]++;
      else if (dominates(to, from)) isLoopHeader[to] = true;
    }
  }
  const isMerge = Array.from(forwardPredecessors, (n) => n > 1);
  const mergeChildren: number[][] = Array.from({ length: count }, () => []);
  for (const node of order) if (node !== order[0] && isMerge[node]) mergeChildren[dominator[node]].push(node);
  return {
    isLoopHeader,
    isMerge,
    mergeChildren,
    isBackEdge: (from, to) => position[to] <= position[from],
    isIrreducible: (from, to) => position[to] <= position[from] && !dominates(to, from),
  };
}

function reversePostorder(graph: Graph): number[] {
  const seen = new Set<number>();
  const out: number[] = [];
  const visit = (node: number): void => {
    if (seen.has(node)) return;
    seen.add(node);
    // The last successor first, so that the first one (a fall-through) comes right behind its node.
    for (const next of [...graph.successors[node]].reverse()) visit(next);
    out.push(node);
  };
  visit(0);
  return out.reverse();
}

/** Immediate dominators (Cooper, Harvey and Kennedy); the entry is its own. */
function dominators(graph: Graph, order: readonly number[], position: Int32Array): Int32Array {
  const predecessors: number[][] = graph.successors.map(() => []);
  for (const from of order) for (const to of graph.successors[from]) predecessors[to].push(from);
  const idom = new Int32Array(graph.successors.length).fill(-1);
  idom[order[0]] = order[0];
  const meet = (x: number, y: number): number => {
    let a = x;
    let b = y;
    while (a !== b) {
      while (position[a] > position[b]) a = idom[a];
      while (position[b] > position[a]) b = idom[b];
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of order.slice(1)) {
      const known = predecessors[node].filter((p) => idom[p] >= 0);
      const next = known.reduce(meet);
      if (idom[node] !== next) {
        idom[node] = next;
        changed = true;
      }
    }
  }
  return idom;
}
