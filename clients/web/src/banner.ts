/** Defines `<onrecord-banner>` and `<onrecord-consent>`. */

import { OnRecordBanner } from './elements/banner.js';
import { OnRecordConsent } from './elements/consent.js';
import { define } from './elements/source.js';

define('onrecord-banner', OnRecordBanner);
define('onrecord-consent', OnRecordConsent);

export { OnRecordBanner, OnRecordConsent };
export type { Source } from './elements/source.js';

declare global {
  interface HTMLElementTagNameMap {
    'onrecord-banner': OnRecordBanner;
    'onrecord-consent': OnRecordConsent;
  }
}
