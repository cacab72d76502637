/** What is built. */

export const ENTRIES = ['src/index.ts', 'src/banner.ts', 'src/react.ts', 'src/texts.ts'];

/**
 * Members that only this package uses, and that leave no page: their names are shortened. Names of JSON,
 * of the browser, of what tabs tell each other, and of the public interface must not be here.
 */
const OWN =
  'onUp onMessage onToken farewell unreachable statusChanged receive retain suspect renew announcedUntil announce consentRequired ' +
  'service heard waiting adopt flush peek offer tokens recent fail deliver openedAt aboutToken dropped kept cursorIs opened server before query ' +
  'emit watch sdk rest after stop reject end';

export const OPTIONS = {
  bundle: true,
  format: 'esm',
  target: 'es2022',
  platform: 'browser',
  minify: true,
  mangleProps: new RegExp(`^(${OWN.split(' ').join('|')})$`),
};
