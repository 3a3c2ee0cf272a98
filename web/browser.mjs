// A browser for the tests of the pages, and how a page is opened in it.
//
// BASE_URL is the Courant to look at, CHROMIUM the browser, SCREENSHOTS a folder for pictures.

import { mkdirSync } from "node:fs";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const base = process.env.BASE_URL ?? "http://127.0.0.1:8080";
export const pictures = process.env.SCREENSHOTS;
let browser;

/** Starts the browser before the tests of a file, and ends it after them. */
export function withBrowser() {
  before(async () => {
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
    if (pictures) mkdirSync(pictures, { recursive: true });
  });
  after(async () => {
    await browser?.close();
  });
}

export const looks = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 860 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 860 } },
  { name: "phone", colorScheme: "dark", viewport: { width: 390, height: 844 } },
];

/** Opens a page; `errors` fills with what its scripts and its console complain of. */
export async function open(path, look = looks[0], options = {}) {
  const { colorScheme, viewport } = look;
  const context = await browser.newContext({ colorScheme, viewport, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(base + path);
  return { page, context, errors };
}
