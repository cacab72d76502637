/**
 * Measures when Chromium shows something of each page of the console: signs in by the API key in ONRECORD_API_KEY,
 * opens each path several times with nothing kept of before, and prints a JSON list of the times of each, ms.
 *
 *     ONRECORD_API_KEY=… node scripts/first-paint.mjs http://localhost:8080 /console/ /console/calls
 */

import { chromium } from 'playwright-core';

const LOADS = 5;

const [origin, ...paths] = process.argv.slice(2);
const key = process.env.ONRECORD_API_KEY;
if (!origin || paths.length === 0 || !key) {
  console.error('usage: ONRECORD_API_KEY=… first-paint.mjs ORIGIN PATH…');
  process.exit(64);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${origin}/console/sign-in`);
  await page.locator('input[name=key]').fill(key);
  await page.locator('form[action="/console/sign-in"] button').click();
  await page.waitForURL(`${origin}/console/`);
  const cache = await context.newCDPSession(page);
  await cache.send('Network.setCacheDisabled', { cacheDisabled: true });
  const painted = [];
  for (const path of paths) {
    const times = [];
    for (let load = 0; load < LOADS; load++) {
      const answer = await page.goto(origin + path);
      if (answer.status() !== 200) throw new Error(`${path}: ${answer.status()}`);
      const time = await page.evaluate(() => new Promise((resolve) => {
        new PerformanceObserver((list) => {
          const paint = list.getEntriesByName('first-contentful-paint')[0];
          if (paint) resolve(paint.startTime);
        }).observe({ type: 'paint', buffered: true });
      }));
      times.push(time);
    }
    painted.push(times);
  }
  console.log(JSON.stringify(painted));
} finally {
  await browser.close();
}
