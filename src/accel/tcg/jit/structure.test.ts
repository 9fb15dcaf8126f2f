import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../testing/differential/random.ts';
import { analyze, type Graph } from './structure.ts';

const graphOf = (...successors: number[][]): Graph => ({ successors });
const trueAt = (list: readonly boolean[]): number[] => list.flatMap((is, i) => (is ? [i] : []));

describe('structure of a control-flow graph', () => {
  it('a single node', () => {
    const s = analyze(graphOf([]));
    assert.deepEqual([s.isLoopHeader, s.isMerge, s.mergeChildren], [[false], [false], [[]]]);
  });

  it('a diamond: its end is a merge below its start', () => {
    const s = analyze(graphOf([1, 2], [3], [3], []));
    assert.deepEqual(trueAt(s.isMerge), [3]);
    assert.deepEqual(s.mergeChildren, [[3], [], [], []]);
    assert.deepEqual(trueAt(s.isLoopHeader), []);
  });

  it('a node that is both successors of one branch is a merge', () => {
    const s = analyze(graphOf([1, 1], []));
    assert.deepEqual(s.mergeChildren, [[1], []]);
  });

  it('a loop of one node', () => {
    const s = analyze(graphOf([0]));
    assert.deepEqual(trueAt(s.isLoopHeader), [0]);
    assert.ok(s.isBackEdge(0, 0));
    assert.ok(!s.isIrreducible(0, 0));
  });

  it('nested loops', () => {
    // 0 → outer 1 → inner 2 ⟲ → 3 → 1 or 4
    const s = analyze(graphOf([1], [2], [2, 3], [1, 4], []));
    assert.deepEqual(trueAt(s.isLoopHeader), [1, 2]);
    assert.deepEqual(trueAt(s.isMerge), []);
    assert.ok(s.isBackEdge(3, 1) && s.isBackEdge(2, 2) && !s.isBackEdge(1, 2));
  });

  it('a loop with two exits to one place', () => {
    const s = analyze(graphOf([1], [2, 3], [1, 3], []));
    assert.deepEqual(trueAt(s.isLoopHeader), [1]);
    assert.deepEqual(s.mergeChildren, [[], [3], [], []]);
  });

  it('a loop with two entries is irreducible by one of them', () => {
    const s = analyze(graphOf([1, 2], [2], [1]));
    assert.equal([s.isIrreducible(1, 2), s.isIrreducible(2, 1)].filter(Boolean).length, 1);
    assert.deepEqual(trueAt(s.isLoopHeader), []);
  });

  it('nodes that the entry does not reach count for nothing', () => {
    const s = analyze(graphOf([1], [], [1]));
    assert.deepEqual(trueAt(s.isMerge), []);
    assert.deepEqual(s.mergeChildren, [[], [], []]);
  });
});

/** Where a walk goes at each node: successor `choices[i]` at step i. */
function walk(graph: Graph, choices: readonly number[]): number[] {
  const path = [];
  let node = 0;
  for (const choice of choices) {
    path.push(node);
    const next = graph.successors[node];
    if (next.length === 0) break;
    node = next[choice % next.length];
  }
  return path;
}

type Step =
  | { readonly visit: number; readonly ways: readonly Step[] }
  | { readonly go: number }
  | { readonly leave: number };

/**
 * Nests the nodes as the translator nests WebAssembly: each edge is a branch to an open loop or block, a node in place,
 * or (irreducible) a way out. Throws for a branch to a label that is not open.
 */
function nest(graph: Graph): { root: Step; merged: ReadonlyMap<number, Step>; emitted: readonly number[] } {
  const s = analyze(graph);
  const loops = new Set<number>();
  const blocks = new Set<number>();
  const merged = new Map<number, Step>();
  const emitted: number[] = [];
  const edge = (from: number, to: number): Step => {
    if (s.isIrreducible(from, to)) return { leave: to };
    if (s.isBackEdge(from, to)) {
      assert.ok(loops.has(to), `loop ${to} is not open at ${from}`);
      return { go: to };
    }
    if (!s.isMerge[to]) return tree(to);
    assert.ok(blocks.has(to), `the block before ${to} is not open at ${from}`);
    return { go: to };
  };
  const tree = (node: number): Step => {
    emitted.push(node);
    if (s.isLoopHeader[node]) loops.add(node);
    const children = s.mergeChildren[node];
    for (const child of children) blocks.add(child);
    const step = { visit: node, ways: graph.successors[node].map((to) => edge(node, to)) };
    if (s.isLoopHeader[node]) merged.set(node, step);
    // A block's end is reached in order, and then it is no more open.
    for (const child of children) {
      blocks.delete(child);
      merged.set(child, tree(child));
    }
    loops.delete(node);
    return step;
  };
  return { root: tree(0), merged, emitted };
}

describe('structured emission of random graphs', () => {
  const random = new Random(7, 1);
  const graphs = Array.from({ length: 2000 }, () => {
    const count = 1 + random.below(12);
    return graphOf(
      ...Array.from({ length: count }, () => Array.from({ length: random.below(4) }, () => random.below(count))),
    );
  });

  it('has each reachable node once, and walks as the graph does', () => {
    let irreducible = 0;
    for (const graph of graphs) {
      const { root, merged, emitted } = nest(graph);
      const reachable = new Set<number>();
      const visit = (node: number): void => {
        if (reachable.has(node)) return;
        reachable.add(node);
        graph.successors[node].forEach(visit);
      };
      visit(0);
      assert.deepEqual([...emitted].sort(), [...reachable].sort());
      const choices = Array.from({ length: 40 }, () => random.below(6));
      const path = [];
      let step = root;
      for (const choice of choices) {
        if (!('visit' in step)) throw new Error('not at a node');
        path.push(step.visit);
        if (step.ways.length === 0) break;
        const way = step.ways[choice % step.ways.length];
        if ('leave' in way) {
          irreducible++;
          break;
        }
        step = 'go' in way ? (merged.get(way.go) as Step) : way;
      }
      assert.deepEqual(path, walk(graph, choices).slice(0, path.length));
    }
    assert.ok(irreducible > 100, `only ${irreducible} ways out`);
  });

  it('leaves only by edges into a loop beside its header', () => {
    for (const graph of graphs) {
      const s = analyze(graph);
      const reachable = new Set(nest(graph).emitted);
      for (const from of reachable) {
        for (const to of graph.successors[from]) {
          // `to` dominates `from` exactly when the entry can not reach `from` without it.
          const without = new Set<number>();
          const visit = (node: number): void => {
            if (node === to || without.has(node)) return;
            without.add(node);
            graph.successors[node].forEach(visit);
          };
          visit(0);
          const dominates = !without.has(from);
          assert.equal(s.isBackEdge(from, to) && !s.isIrreducible(from, to), dominates);
        }
      }
    }
  });
});
