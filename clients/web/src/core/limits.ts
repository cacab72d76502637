/** How much the client keeps, and sends at once. */

/** Maximum number of items of one attachment that wait. */
export const QUEUE_MAX = 500;
/** Maximum number of items of one request; the service takes 500. */
export const BATCH_MAX = 100;
/** Maximum size of a body that a browser sends after the page is gone. */
export const KEEPALIVE_MAX = 60_000;
/** Maximum number of calls whose latest message is kept. */
export const CALLS_MAX = 64;
