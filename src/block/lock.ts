/** A fair lock: many readers or one writer; nobody overtakes. */
export interface RwLock {
  /** A reader would not have to wait. */
  readonly isFree: boolean;
  shared<T>(body: () => Promise<T>): Promise<T>;
  exclusive<T>(body: () => Promise<T>): Promise<T>;
}

export function rwLock(): RwLock {
  const waiting: { readonly exclusive: boolean; readonly start: () => void }[] = [];
  let readers = 0;
  let writing = false;

  const admit = () => {
    while (waiting.length > 0 && !writing && !(waiting[0].exclusive && readers > 0)) {
      const { exclusive, start } = waiting.shift()!;
      if (exclusive) writing = true;
      else readers += 1;
      start();
    }
  };
  const enter = (exclusive: boolean): Promise<void> | undefined => {
    if (waiting.length === 0 && !writing && !(exclusive && readers > 0)) {
      if (exclusive) writing = true;
      else readers += 1;
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push({ exclusive, start: resolve });
    return promise;
  };
  return {
    get isFree() {
      return waiting.length === 0 && !writing;
    },
    async shared(body) {
      await enter(false);
      try {
        return await body();
      } finally {
        readers -= 1;
        admit();
      }
    },
    async exclusive(body) {
      await enter(true);
      try {
        return await body();
      } finally {
        writing = false;
        admit();
      }
    },
  };
}
