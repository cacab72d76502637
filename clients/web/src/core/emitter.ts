/** Listeners. One that throws stops neither the others nor the package. */

import { OnRecordError, type Problem } from './problem.js';

export function makeEmitter<Events>(fail: (problem: Problem) => void) {
  const listeners = new Map<keyof Events, Set<(event: never) => void>>();
  return {
    on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
      const own = listeners.get(name) ?? new Set();
      listeners.set(name, own.add(listener));
      return () => void own.delete(listener);
    },
    emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
      for (const listener of [...(listeners.get(name) ?? [])]) {
        try {
          listener(event as never);
        } catch (cause) {
          fail(new OnRecordError('app', cause));
        }
      }
    },
  };
}
