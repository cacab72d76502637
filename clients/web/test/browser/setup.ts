/** Starts PostgreSQL and Kafka once for all browser tests. Each file starts its own node of the service. */

import type { TestProject } from 'vitest/node';
import { Stack } from '../support/stack.js';

export default async function setup(project: TestProject) {
  const stack = await Stack.start();
  project.provide('stack', { folder: stack.folder, databaseUrl: stack.databaseUrl, brokers: stack.brokers });
  return () => stack.stop();
}

declare module 'vitest' {
  interface ProvidedContext {
    stack: { folder: string; databaseUrl: string; brokers: string };
  }
}
