// Colours and links of the Jolt page.

import { expect, test } from "vitest";
import { indexOf, pack, pieces, unpack } from "./jolt";

const kinds = (text: string) =>
  pieces(text).map((line) =>
    line.filter((piece) => piece.kind !== "plain").map((piece) => `${piece.kind} ${piece.text}`),
  );

test("json is coloured line by line, comments over several", () => {
  const text = '{ "a\\"b": "x", // "no"\n "n": -1.5e3, /* one\n two */ "t": true }';
  expect(kinds(text)).toEqual([
    ['key "a\\"b"', 'text "x"', 'comment // "no"'],
    ['key "n"', "word -1.5e3", "comment /* one"],
    ["comment  two */", 'key "t"', "word true"],
  ]);
});

test("no piece of a text is lost, whatever it is", () => {
  for (const text of ["", "\n\n", '{"open', "/* /* */ */ x", "ü\t- -1 nullx \\", '"\\']) {
    const back = pieces(text).map((line) => line.map((piece) => piece.text).join(""));
    expect(back.join("\n")).toBe(text);
  }
});

test("a place is found and never lies outside", () => {
  expect(indexOf("ab\ncd", 2, 2)).toBe(4);
  expect(indexOf("ab\ncd", 1, 9)).toBe(2);
  expect(indexOf("ab\ncd", 9, 9)).toBe(5);
});

test("a link keeps the state", async () => {
  const trial = { spec: '[{"operation":"sort"}] // ü', input: "{}".repeat(50), context: "" };
  const link = await pack(trial);
  expect(link).toMatch(/^#1:[\w-]+$/);
  expect(await unpack(link ?? "")).toEqual(trial);
});

test("a link that holds no state, or too much, gives none", async () => {
  for (const link of ["", "#other", "#1:", "#1:!!!", "#1:AAAA"]) {
    expect(await unpack(link)).toBeNull();
  }
  const noise = Array.from({ length: 40_000 }, (_, n) => String.fromCharCode(33 + ((n * n * 7919) % 89))).join("");
  const random = crypto.getRandomValues(new Uint8Array(60_000)).join(",");
  expect(await pack({ spec: random, input: noise, context: "" })).toBeNull();
  const bomb = await pack({ spec: " ".repeat(2_000_000), input: "", context: "" });
  expect(await unpack(bomb ?? "")).toBeNull();
});
