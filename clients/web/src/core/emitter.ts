/** Listeners of one object. A listener that throws stops neither the others nor the package. */

import { OnRecordError, type Problem } from './problem.js';

export class Emitter<Events> {
  #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  constructor(private readonly onError: (problem: Problem) => void) {}

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as (event: Events[Name]) => void)(event);
      } catch (cause) {
        this.onError(new OnRecordError('app', cause));
      }
    }
  }
}
