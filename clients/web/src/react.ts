/** The binding for React 18 and later: safe in StrictMode and on a server. */

import { createElement, useCallback, useEffect, useRef, useState, useSyncExternalStore, type ReactElement } from 'react';
import type { CallLike } from './core/call.js';
import type { Leg, LegView } from './core/leg.js';
import type { OnRecord } from './core/onrecord.js';
import type { Source } from './elements/source.js';

/** What is shown before a call is attached, and on a server. */
const NOTHING: LegView = {
  phase: 'ringing',
  status: 'connecting',
  indication: { recording: 'unknown', transcription: 'unknown', variant: 'none' },
  consent: { required: false, types: [], answer: undefined, grant: async () => {}, decline: () => {} },
  notice: undefined,
};

/** Attaches the call as long as the component lives, and returns what is to be shown. */
export function useOnRecord(onrecord: OnRecord | undefined, call: CallLike | undefined): LegView & { leg: Leg | undefined } {
  const [leg, setLeg] = useState<Leg>();
  useEffect(() => {
    if (!onrecord || !call) return;
    const attached = onrecord.attach(call);
    setLeg(attached);
    return () => {
      setLeg(undefined);
      attached.detach();
    };
  }, [onrecord, call]);
  const subscribe = useCallback((changed: () => void) => leg?.on('change', changed) ?? (() => {}), [leg]);
  const view = useSyncExternalStore(
    subscribe,
    () => leg?.view ?? NOTHING,
    () => NOTHING,
  );
  return { ...view, leg };
}

export interface RecordingBannerProps {
  /** The client, or one leg of it. */
  readonly source: Source | undefined;
  readonly locale?: string;
  /** `false`: without the dialog that asks for an explicit consent. */
  readonly consent?: boolean;
}

/** The banner, and the consent dialog. */
export function RecordingBanner({ source, locale, consent = true }: RecordingBannerProps): ReactElement {
  const banner = useRef<HTMLElement & { source?: Source | undefined }>(null);
  const dialog = useRef<HTMLElement & { source?: Source | undefined }>(null);
  useEffect(() => {
    // The elements exist in a browser only.
    let current = true;
    void import('./banner.js').then(() => {
      if (!current) return;
      if (banner.current) banner.current.source = source;
      if (dialog.current) dialog.current.source = source;
    });
    return () => {
      current = false;
    };
  }, [source, consent]);
  const attributes = locale ? { locale } : {};
  return createElement(
    'div',
    { style: { display: 'contents' } },
    createElement('onrecord-banner', { ref: banner, ...attributes }),
    consent ? createElement('onrecord-consent', { ref: dialog, ...attributes }) : null,
  );
}
