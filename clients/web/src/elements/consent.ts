/** `<onrecord-consent>`: asks for the explicit consent that a Teams policy requires. */

import type { Leg } from '../core/leg.js';
import { directionOf, localeOf, shownText, wordsOf, type Locale } from '../texts.js';
import { ElementBase, make, shadowOf, watchSource, wishesOf, type Source } from './source.js';
import { CONSENT_STYLE } from './style.js';

/** It is not modal: a participant who does not agree must be able to hang up. */
const content = () => [
  make(
    'div',
    { part: 'dialog', class: 'dialog', role: 'alertdialog', 'aria-labelledby': 'title', 'aria-describedby': 'text', tabindex: '-1', hidden: '' },
    make('h2', { id: 'title', part: 'title' }),
    make('p', { id: 'text', part: 'text' }),
    make('p', { class: 'failed', part: 'error', role: 'alert' }),
    make(
      'div',
      { class: 'answers' },
      make('button', { part: 'agree', class: 'agree', type: 'button' }),
      make('button', { part: 'disagree', class: 'disagree', type: 'button' }),
    ),
  ),
  make('button', { part: 'declined', class: 'declined', type: 'button', hidden: '' }),
];

export class OnRecordConsent extends ElementBase {
  static readonly observedAttributes = ['locale'];
  #source: Source | undefined;
  #leg: Leg | undefined;
  #unwatch: () => void = () => {};
  #busy = false;
  #failed = false;
  #reopened = false;

  /** The client of `createOnRecord`, or one leg of it. */
  get source(): Source | undefined {
    return this.#source;
  }
  set source(source: Source | undefined) {
    this.#source = source;
    if (this.isConnected) this.#watch();
  }

  connectedCallback(): void {
    if (!this.shadowRoot) {
      shadowOf(this, CONSENT_STYLE, ...content());
      this.#part('.agree').addEventListener('click', () => void this.#grant());
      this.#part('.disagree').addEventListener('click', () => this.#decline());
      this.#part('.declined').addEventListener('click', () => {
        this.#reopened = true;
        this.#render();
      });
    }
    this.#watch();
  }

  disconnectedCallback(): void {
    this.#unwatch();
    this.#leg = undefined;
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
          if (leg !== this.#leg) this.#reopened = this.#failed = false;
          this.#leg = leg;
          this.#render();
        })
      : () => {};
  }

  get #locale(): Locale {
    return localeOf(...wishesOf(this, this.#source));
  }

  #render(): void {
    const consent = this.#leg?.view.phase === 'connected' ? this.#leg.consent : undefined;
    const required = consent?.required === true;
    const declined = consent?.answer === 'declined' && !this.#reopened;
    const open = required && !declined;
    const locale = this.#locale;
    const dialog = this.#part('.dialog');
    const pill = this.#part('.declined');
    for (const element of [dialog, pill]) {
      element.lang = locale;
      element.dir = directionOf(locale);
    }
    const put = (selector: string, text: string) => {
      const element = this.#part(selector);
      if (element.textContent !== text) element.textContent = text;
    };
    put('h2', wordsOf('consent_title', locale));
    put('#text', wordsOf('consent', locale));
    put('.agree', wordsOf('agree', locale));
    put('.disagree', wordsOf('disagree', locale));
    put('.failed', this.#failed ? wordsOf('consent_failed', locale) : '');
    put('.declined', wordsOf('consent_declined', locale));
    for (const button of dialog.querySelectorAll('button')) button.disabled = this.#busy;
    pill.hidden = !(required && declined);
    const opens = open && dialog.hidden;
    dialog.hidden = !open;
    if (opens) dialog.focus();
  }

  async #grant(): Promise<void> {
    this.#busy = true;
    this.#failed = false;
    this.#render();
    // The leg reports the failure to the app; the participant is told here.
    await this.#leg?.consent.grant({ text: shownText('consent', this.#locale) }).catch(() => (this.#failed = true));
    this.#busy = false;
    this.#reopened = this.#failed;
    this.#render();
  }

  #decline(): void {
    this.#reopened = this.#failed = false;
    this.#leg?.consent.decline({ text: shownText('consent', this.#locale) });
    this.#render();
  }
}
