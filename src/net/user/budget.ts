/** The memory that all connections share: who holds how much, and who is told when some becomes free. */

export interface BudgetUser {
  readonly heldBytes: number;
  memoryAgain(): void;
}

export class MemoryBudget {
  readonly #limitBytes: number;
  readonly #held = new Map<BudgetUser, number>();
  #usedBytes = 0;
  #wasFull = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get roomBytes(): number {
    return Math.max(0, this.#limitBytes - this.#usedBytes);
  }

  /** Counts a user's bytes anew. */
  update(user: BudgetUser): void {
    this.#count(user, user.heldBytes);
  }

  remove(user: BudgetUser): void {
    this.#count(user, 0);
    this.#held.delete(user);
  }

  #count(user: BudgetUser, bytes: number): void {
    this.#usedBytes += bytes - (this.#held.get(user) ?? 0);
    this.#held.set(user, bytes);
    if (this.roomBytes === 0) this.#wasFull = true;
    else if (this.#wasFull && this.#usedBytes < this.#limitBytes * 0.75) {
      this.#wasFull = false;
      for (const other of [...this.#held.keys()]) other.memoryAgain();
    }
  }
}
