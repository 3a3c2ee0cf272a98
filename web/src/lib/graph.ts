// Places the flow's nodes in columns, left to right, each after all that feed it.

export interface GraphNode {
  id: string;
  kind: string;
  name: string;
}

export interface Graph {
  nodes: GraphNode[];
  edges: { from: string; to: string }[];
}

export interface PlacedNode extends GraphNode {
  x: number;
  y: number;
}

export interface Layout {
  nodes: PlacedNode[];
  edges: { from: PlacedNode; to: PlacedNode }[];
  width: number;
  height: number;
}

export const NODE = { width: 168, height: 44, gapX: 56, gapY: 20 } as const;

export function layout(graph: Graph): Layout {
  const column = new Map(graph.nodes.map((node) => [node.id, 0]));
  // The longest path decides; bounded by the number of nodes, so a cycle ends too.
  for (let round = 0; round < graph.nodes.length; round += 1) {
    let moved = false;
    for (const { from, to } of graph.edges) {
      const wanted = (column.get(from) ?? 0) + 1;
      if (wanted > (column.get(to) ?? 0) && wanted < graph.nodes.length) {
        column.set(to, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  const rows = new Map<number, number>();
  const nodes = graph.nodes.map((node) => {
    const at = column.get(node.id) ?? 0;
    const row = rows.get(at) ?? 0;
    rows.set(at, row + 1);
    return {
      ...node,
      x: at * (NODE.width + NODE.gapX),
      y: row * (NODE.height + NODE.gapY),
    };
  });
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const edges = graph.edges.flatMap(({ from, to }) => {
    const [start, end] = [byId.get(from), byId.get(to)];
    return start && end ? [{ from: start, to: end }] : [];
  });
  const columns = Math.max(0, ...column.values()) + 1;
  const tallest = Math.max(1, ...rows.values());
  return {
    nodes,
    edges,
    width: columns * (NODE.width + NODE.gapX) - NODE.gapX,
    height: tallest * (NODE.height + NODE.gapY) - NODE.gapY,
  };
}
