/** `<onrecord-banner>`: states what is captured, and acknowledges what was really on the screen. */

import type { Leg } from '../core/leg.js';
import { directionOf, localeOf, shownText, wordsOf, type Locale, type NoticeKey, type TextKey } from '../texts.js';
import { ElementBase, make, shadowOf, watchSource, wishesOf, type Source } from './source.js';
import { BANNER_STYLE } from './style.js';

/** Minimum part of the banner that must be inside the viewport to count as visible. */
const VISIBLE_PART = 0.9;

/** The live regions are there before their words: a screen reader announces changes only. */
const content = () => [
  make(
    'section',
    { part: 'banner', class: 'banner' },
    make('span', { part: 'icon', class: 'icon', 'aria-hidden': 'true' }),
    make('span', { class: 'text' }, make('span', { part: 'text', role: 'alert' }), make('span', { part: 'text', role: 'status' })),
    make('button', { part: 'collapse', class: 'collapse', type: 'button' }, make('span', { 'aria-hidden': 'true' }, '\u2013')),
  ),
  make(
    'button',
    { part: 'pill', class: 'pill', type: 'button', 'aria-expanded': 'false' },
    make('span', { class: 'icon', 'aria-hidden': 'true' }),
    make('span', {}),
  ),
];

export class OnRecordBanner extends ElementBase {
  static readonly observedAttributes = ['locale'];
  #source: Source | undefined;
  #leg: Leg | undefined;
  #unwatch: () => void = () => {};
  #observer: IntersectionObserver | undefined;
  #inViewport = false;
  #collapsed = false;
  #shownVariant: string = 'none';
  #locale: Locale = 'en';

  /** The client of `createOnRecord`, or one leg of it. */
  get source(): Source | undefined {
    return this.#source;
  }
  set source(source: Source | undefined) {
    this.#source = source;
    if (this.isConnected) this.#watch();
  }

  /** Whether the participant has made the banner a pill. */
  get collapsed(): boolean {
    return this.#collapsed;
  }

  connectedCallback(): void {
    if (!this.shadowRoot) {
      shadowOf(this, BANNER_STYLE, ...content());
      this.#part('.collapse').addEventListener('click', () => this.#collapse(true));
      this.#part('.pill').addEventListener('click', () => this.#collapse(false));
    }
    this.#observer = new IntersectionObserver(
      (entries) => {
        this.#inViewport = (entries.at(-1)?.intersectionRatio ?? 0) >= VISIBLE_PART;
        this.#state();
      },
      { threshold: [0, VISIBLE_PART] },
    );
    this.#observer.observe(this.#part('.banner'));
    document.addEventListener('visibilitychange', this.#state);
    this.#watch();
  }

  disconnectedCallback(): void {
    this.#observer?.disconnect();
    document.removeEventListener('visibilitychange', this.#state);
    this.#unwatch();
    // The words are no longer on the screen, though the recording may go on.
    this.#leg?.hidden();
    this.#leg = undefined;
    this.#shownVariant = 'none';
  }

  attributeChangedCallback(): void {
    if (this.shadowRoot) this.#render();
  }

  #part<T extends HTMLElement>(selector: string): T {
    return this.shadowRoot!.querySelector<T>(selector)!;
  }

  #watch(): void {
    this.#unwatch();
    this.#unwatch = this.#source
      ? watchSource(this.#source, (leg) => {
          if (leg !== this.#leg) this.#leg?.hidden();
          this.#leg = leg;
          this.#render();
        })
      : () => {};
    if (!this.#source) this.#render();
  }

  #render(): void {
    const variant = this.#leg?.indication.variant ?? 'none';
    this.#locale = localeOf(...wishesOf(this, this.#source));
    // What is new must be seen in full.
    const isNew = variant !== this.#shownVariant;
    if (isNew) this.#collapsed = false;
    this.#shownVariant = variant;
    const continues = /_on|paused|unknown/.test(variant);
    const collapsed = this.#collapsed && continues;

    const section = this.#part('.banner');
    section.className = `banner ${variant}`;
    section.dir = directionOf(this.#locale);
    section.lang = this.#locale;
    section.setAttribute('aria-label', this.#words('notice'));
    section.hidden = variant === 'none' || collapsed;
    const words = variant === 'none' ? '' : this.#words(variant);
    // What goes on interrupts a screen reader; what has stopped waits for its turn.
    const urgent = variant.endsWith('_on') && !variant.includes('_off');
    const put = (selector: string, text: string) => {
      const region = this.#part(selector);
      if (region.textContent !== text) region.textContent = text;
    };
    put('[role=alert]', urgent ? words : '');
    put('[role=status]', urgent ? '' : words);
    const collapse = this.#part<HTMLButtonElement>('.collapse');
    collapse.hidden = !continues;
    collapse.setAttribute('aria-label', this.#words('collapse'));
    collapse.title = this.#words('collapse');

    const pill = this.#part('.pill');
    pill.className = `pill ${variant}`;
    pill.hidden = !collapsed;
    pill.dir = section.dir;
    pill.lang = this.#locale;
    pill.title = this.#words('expand');
    pill.lastElementChild!.textContent = continues ? this.#words(pillOf(variant)) : '';
    if (isNew) this.dispatchEvent(new CustomEvent('onrecord-variant', { detail: variant }));
    this.#state();
  }

  // States what is on the screen; the leg leaves out what it has stated already.
  #state = (): void => {
    const variant = this.#shownVariant;
    if (!this.#leg || variant === 'none' || this.#collapsed) return;
    const section = this.#part('.banner');
    const rendered = section.checkVisibility?.({ opacityProperty: true, visibilityProperty: true }) ?? true;
    const looked = document.visibilityState !== 'hidden';
    const text = shownText(variant as NoticeKey, this.#locale);
    if (looked && rendered && this.#inViewport) this.#leg.shown({ text, visible: true });
    // The observer answers within a frame; a page that is not looked at has no frames.
    else if (!looked) this.#leg.shown({ text, visible: false });
  };

  #collapse(collapsed: boolean): void {
    this.#collapsed = collapsed;
    if (collapsed) this.#leg?.hidden();
    this.#render();
    this.#part(collapsed ? '.pill' : '.collapse').focus();
  }

  #words(key: TextKey): string {
    return wordsOf(key, this.#locale);
  }
}

function pillOf(variant: string): TextKey {
  if (variant === 'both_on') return 'pill_both';
  if (variant.endsWith('recording_on')) return 'pill_recording';
  if (variant.endsWith('transcription_on')) return 'pill_transcription';
  return variant === 'recording_paused' ? 'pill_paused' : 'pill_unknown';
}
