-- Service accounts: programs that get tokens with a secret of their own.

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- SHA-256. The secret is 32 random bytes of our own making, which no slower hash would protect any better.
    secret_hash BLOB NOT NULL,
    scopes TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    version INTEGER NOT NULL DEFAULT 1,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    last_used_ms INTEGER
) STRICT;
