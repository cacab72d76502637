/** What an element shows: one leg, or of a client the leg that calls for it most. */

import type { OnRecord } from '../core/onrecord.js';
import type { Leg } from '../core/leg.js';

export type Source = OnRecord | Leg;

const isLeg = (source: Source): source is Leg => 'attachment' in source;

/** Calls `changed` with the leg to show, now and on every change; returns the end of it. */
export function watchSource(source: Source, changed: (leg: Leg | undefined) => void): () => void {
  if (isLeg(source)) {
    changed(source);
    return source.on('change', () => changed(source));
  }
  let ends: Array<() => void> = [];
  const choose = () => {
    const connected = source.legs.filter((leg) => leg.view.phase === 'connected');
    const asks = connected.filter((leg) => leg.indication.variant !== 'none' || leg.consent.required);
    changed(asks.at(-1) ?? connected.at(-1) ?? source.legs.at(-1));
  };
  const watch = () => {
    ends.forEach((end) => end());
    ends = source.legs.map((leg) => leg.on('change', choose));
    choose();
  };
  const end = source.on('legs', watch);
  watch();
  return () => {
    end();
    ends.forEach((each) => each());
  };
}

/** The language of an element: its own, that of the client, that of the page, that of the browser. */
export function wishesOf(element: HTMLElement, source: Source | undefined): Array<string | null | undefined> {
  return [
    element.getAttribute('locale'),
    source && !isLeg(source) ? source.locale : undefined,
    element.closest('[lang]')?.getAttribute('lang'),
    ...(globalThis.navigator?.languages ?? []),
  ];
}

/** `HTMLElement`, or nothing to extend where a server renders. */
export const ElementBase: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as unknown as typeof HTMLElement);

/**
 * Makes the shadow of an element. Neither a `<style>` nor `innerHTML` is used, so that it works under a
 * content security policy without inline styles, and with trusted types.
 */
export function shadowOf(element: HTMLElement, style: string, ...content: Node[]): void {
  const root = element.attachShadow({ mode: 'open' });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  root.adoptedStyleSheets = [sheet];
  root.append(...content);
}

/** An element with attributes and children. */
export function make(name: string, attributes: Readonly<Record<string, string>>, ...children: Array<Node | string>): HTMLElement {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

export function define(name: string, element: CustomElementConstructor): void {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, element);
}
