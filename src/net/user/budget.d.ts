/** The memory that all connections share: who holds how much, and who is told when some becomes free. */
export interface BudgetUser {
    readonly heldBytes: number;
    memoryAgain(): void;
}
export declare class MemoryBudget {
    #private;
    constructor(limitBytes: number);
    get usedBytes(): number;
    get roomBytes(): number;
    /** Counts a user's bytes anew. */
    update(user: BudgetUser): void;
    remove(user: BudgetUser): void;
}
