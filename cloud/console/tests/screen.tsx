// The console as somebody uses it: opened at an address, read, clicked, typed into.
import { act, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { App } from "../src/app";
import { Fleet } from "./fleet";

let root: Root;
export let fleet: Fleet;

/** Call it once in a file: each of its tests gets a fresh page and a fresh fleet. */
export function screen(): void {
  beforeEach(() => {
    vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
    fleet = new Fleet();
    sessionStorage.clear();
    const holder = document.createElement("div");
    document.body.replaceChildren(holder);
    root = createRoot(holder);
  });
  afterEach(async () => {
    await act(async () => root.unmount());
    vi.useRealTimers();
  });
}

export async function shown(what: ReactNode): Promise<void> {
  await act(async () => root.render(what));
}

/** Lets everything that was asked for arrive. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await act(async () => new Promise((done) => setTimeout(done, 0)));
}

/** Opens a page of the namespace, with what the fleet's stream says. */
export async function open(path: string, { live = true, token = "secret" } = {}): Promise<void> {
  if (token) sessionStorage.setItem("shoal.token", token);
  history.replaceState(null, "", `/console/${path}`);
  if (live) fleet.show();
  await shown(<App />);
  await settled();
}

export function text(selector = "body"): string {
  return document.querySelector(selector)?.textContent ?? "";
}

export function texts(selector: string): string[] {
  return [...document.querySelectorAll(selector)].map((one) => one.textContent ?? "");
}

export function button(name: string): HTMLButtonElement {
  const found = [...document.querySelectorAll("button")].filter((one) => one.textContent === name);
  return found.at(-1) ?? expect.fail(`no button ${name} in: ${text()}`);
}

export async function click(name: string): Promise<void> {
  await act(async () => button(name).click());
  await settled();
}

export async function type(selector: string, value: string): Promise<void> {
  const field = document.querySelector<HTMLInputElement | HTMLTextAreaElement>(selector);
  if (!field) expect.fail(`no field ${selector}`);
  const prototype = field instanceof HTMLTextAreaElement ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
  await act(async () => {
    // As a keyboard does it: past what React remembers of the field.
    Object.getOwnPropertyDescriptor(prototype, "value")?.set?.call(field, value);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

export async function press(selector: string, key: string, more: KeyboardEventInit = {}): Promise<void> {
  const target = document.querySelector(selector) ?? expect.fail(`nothing at ${selector}`);
  await act(async () => {
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  });
}

export async function follow(selector: string, init: MouseEventInit = {}): Promise<MouseEvent> {
  const link = document.querySelector(selector) ?? expect.fail(`no link ${selector}`);
  const event = new MouseEvent("click", { bubbles: true, cancelable: true, button: 0, ...init });
  await act(async () => void link.dispatchEvent(event));
  await settled();
  return event;
}

export function alert(): string {
  return text("[role=alert]");
}
