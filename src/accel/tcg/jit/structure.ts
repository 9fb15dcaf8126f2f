/**
 * From a control-flow graph to WebAssembly's structured control flow, after
 * N. Ramsey, "Beyond Relooper" (ICFP 2022): the dominator tree gives the nesting,
 * loop headers become loops, nodes with several forward predecessors the ends of
 * blocks. Edges that make the graph irreducible are reported, not structured.
 */

/** Nodes are numbered from 0, the entry, in any order; `successors[n]` lists the nodes that n can go to. */
export interface Graph {
  readonly successors: readonly (readonly number[])[];
  /** Where it is entered; 0 if not given. */
  readonly root?: number;
  /** Nodes that are to be merges, however they are reached. */
  readonly merges?: ReadonlySet<number>;
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
  /** Whether there is a way from the root. */
  isReached(node: number): boolean;
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
  const isMerge = Array.from(forwardPredecessors, (n, node) => n > 1 || graph.merges?.has(node) === true);
  const mergeChildren: number[][] = Array.from({ length: count }, () => []);
  for (const node of order) if (node !== order[0] && isMerge[node]) mergeChildren[dominator[node]].push(node);
  return {
    isLoopHeader,
    isMerge,
    mergeChildren,
    isBackEdge: (from, to) => position[to] <= position[from],
    isIrreducible: (from, to) => position[to] <= position[from] && !dominates(to, from),
    isReached: (node) => position[node] >= 0,
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
  visit(graph.root ?? 0);
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

/** A graph made reducible: some nodes are reached by a dispatcher, a node of its own at the root. */
export interface Dispatch {
  readonly structure: Structure;
  /** The dispatcher's number, or -1 when there is none. */
  readonly dispatcher: number;
  /** What the dispatcher goes to; the graph's entries first, in order. */
  readonly targets: readonly number[];
  /** Whether the edge goes by way of the dispatcher. */
  isDispatched(from: number, to: number): boolean;
}

/** @param entries the nodes where the graph may be entered, node 0 first */
export function withDispatcher(successors: Graph['successors'], entries: readonly number[]): Dispatch {
  const dispatcher = successors.length;
  const targets = [...entries];
  const dispatched = successors.map(() => new Set<number>());
  for (;;) {
    const needed = targets.length > 1 || dispatched.some((s) => s.size > 0);
    const direct = successors.map((list, from) => list.filter((to) => !dispatched[from].has(to)));
    const graph = needed
      ? {
          successors: [...direct.map((list, i) => (dispatched[i].size ? [...list, dispatcher] : list)), targets],
          root: dispatcher,
          merges: new Set(targets),
        }
      : { successors };
    const structure = analyze(graph);
    let isReducible = true;
    for (const [from, list] of direct.entries()) {
      for (const to of list) {
        if (!structure.isReached(from) || !structure.isIrreducible(from, to)) continue;
        isReducible = false;
        dispatched[from].add(to);
        if (!targets.includes(to)) targets.push(to);
      }
    }
    if (isReducible)
      return {
        structure,
        dispatcher: needed ? dispatcher : -1,
        targets,
        isDispatched: (from, to) => dispatched[from].has(to),
      };
  }
}
