// The page's logic without a page.

import { describe, expect, it } from "vitest";
import { age, bytes, rate, span } from "./format";
import { layout } from "./graph";
import { applyChange, type Change, fromSnapshot } from "./live";
import { Rate } from "./rate";

const change = (id: string, kind: Change["kind"] = "insert"): Change => ({
  token: `t-${id}`,
  kind,
  id,
  document: kind === "delete" ? null : { _id: id, content: `text of ${id}` },
  committed_micros: 0,
});

describe("a live list", () => {
  it("puts the newest first and keeps its bound", () => {
    const snapshot = fromSnapshot([{ _id: "b" }, { _id: "a" }], 2);
    const rows = applyChange(snapshot, change("c"), 2);
    expect(rows.map((row) => row.id)).toEqual(["c", "b"]);
    expect(rows.map((row) => row.fresh)).toEqual([true, false]);
  });

  it("shows a change twice only once", () => {
    const once = applyChange([], change("a"), 10);
    expect(applyChange(once, change("a"), 10)).toHaveLength(1);
  });

  it("takes an update in place and a delete away", () => {
    const rows = applyChange(applyChange([], change("a"), 10), change("b"), 10);
    const updated = applyChange(rows, change("a", "update"), 10);
    expect(updated.map((row) => row.id)).toEqual(["b", "a"]);
    expect(applyChange(updated, change("b", "delete"), 10).map((row) => row.id)).toEqual(["a"]);
  });
});

describe("a rate", () => {
  it("counts whole seconds and forgets what is older than it keeps", () => {
    const counted = new Rate(4, 10_000);
    counted.add(10_100);
    counted.add(10_200);
    counted.add(11_000);
    expect(counted.series(12_000)).toEqual([
      [9, 10, 11],
      [0, 2, 1],
    ]);
    expect(counted.perSecond(12_000, 2)).toBe(1.5);
    expect(counted.series(60_000)[1]).toEqual([0, 0, 0]);
  });
});

describe("numbers for people", () => {
  it("keep their unit near the value", () => {
    expect(span(840)).toBe("840 µs");
    expect(span(3_210)).toBe("3.2 ms");
    expect(span(1_200_000)).toBe("1.2 s");
    expect(span(7_300_000_000)).toBe("2 h");
    expect(age(1_000, 1_400)).toBe("now");
    expect(age(1_000, 5_400)).toBe("4 s");
    expect(rate(0.94)).toBe("0.9/s");
    expect(rate(1_204.2)).toBe("1,204/s");
    expect(bytes(3_500)).toBe("3.4 KiB");
  });
});

describe("the flow's layout", () => {
  it("puts each node to the right of what feeds it", () => {
    const placed = layout({
      nodes: [
        { id: "p", kind: "pipeline", name: "p" },
        { id: "t", kind: "topic", name: "t" },
        { id: "s", kind: "source", name: "s" },
      ],
      edges: [
        { from: "s", to: "t" },
        { from: "t", to: "p" },
      ],
    });
    const x = (id: string) => placed.nodes.find((node) => node.id === id)?.x ?? -1;
    expect(x("s")).toBeLessThan(x("t"));
    expect(x("t")).toBeLessThan(x("p"));
  });

  it("ends on a cycle", () => {
    const placed = layout({
      nodes: [
        { id: "a", kind: "topic", name: "a" },
        { id: "b", kind: "topic", name: "b" },
      ],
      edges: [
        { from: "a", to: "b" },
        { from: "b", to: "a" },
      ],
    });
    expect(placed.nodes).toHaveLength(2);
  });
});
