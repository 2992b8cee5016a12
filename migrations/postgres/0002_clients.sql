-- Service accounts: programs that get tokens with a secret of their own.

CREATE TABLE clients (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    -- SHA-256. The secret is 32 random bytes of our own making, which no slower hash would protect any better.
    secret_hash BYTEA NOT NULL,
    scopes TEXT NOT NULL,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    version BIGINT NOT NULL DEFAULT 1,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    last_used_ms BIGINT
);
