#!/usr/bin/env node
/**
 * `onrecord-client texts` prints what registers the words of banner and dialog: a configuration for
 * curl, or JSON. The API key comes from the environment, so that no list of processes shows it.
 */

import { textsToRegister } from '../dist/texts.js';

const USAGE = `usage: onrecord-client texts --url URL     a configuration for curl
       onrecord-client texts --json        the texts as JSON

  ONRECORD_API_KEY=onr_… npx @onrecord/client texts --url https://onrecord.contoso.com | curl --config -

The API key has the role app. Registering the same words again changes nothing.
`;

const quoted = (text) => JSON.stringify(text).replaceAll('\\u', '\\\\u');

function main([command, option, url, ...more]) {
  if (command !== 'texts' || more.length > 0) return USAGE;
  const texts = textsToRegister();
  if (option === '--json' && url === undefined) {
    process.stdout.write(`${JSON.stringify(texts, null, 2)}\n`);
    return undefined;
  }
  if (option !== '--url' || !url) return USAGE;
  if (!URL.canParse(url)) return `${url} is no URL\n`;
  const key = process.env.ONRECORD_API_KEY;
  if (!key) return 'set ONRECORD_API_KEY to an API key of the role app\n';
  const requests = texts.map(({ version, texts }) =>
    [
      `url = ${quoted(`${url.replace(/\/+$/, '')}/v1/notice-texts/${encodeURIComponent(version)}`)}`,
      'request = "PUT"',
      `header = ${quoted(`authorization: Bearer ${key}`)}`,
      'header = "content-type: application/json"',
      `data-raw = ${quoted(JSON.stringify({ texts }))}`,
      'silent',
      'show-error',
      'fail-with-body',
      'output = "/dev/stderr"',
      `write-out = ${quoted(`%{http_code} ${version}\\n`)}`,
    ].join('\n'),
  );
  process.stdout.write(`${requests.join('\nnext\n')}\n`);
  return undefined;
}

const complaint = main(process.argv.slice(2));
if (complaint) {
  process.stderr.write(complaint);
  process.exitCode = 2;
}
