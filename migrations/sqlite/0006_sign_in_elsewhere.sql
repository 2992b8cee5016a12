-- People who sign in elsewhere, and clients that sign instead of telling a secret.

-- Whose account at an identity provider is whose here.
CREATE TABLE identities (
    -- The `iss` and the `sub` of the provider's ID tokens, which together never mean anybody else.
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;

CREATE INDEX identities_by_user ON identities (user_id);

-- What may be used once and was, until it is too old to be used at all. As SHA-256.
CREATE TABLE spent (
    digest BLOB NOT NULL PRIMARY KEY,
    until_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX spent_by_end ON spent (until_ms);

-- A client has a secret or public keys.
CREATE TABLE clients_either (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- SHA-256. The secret is 32 random bytes of our own making, which no slower hash would protect any better.
    secret_hash BLOB,
    -- As they were given: a key set, or a PEM block.
    public_keys TEXT,
    scopes TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    version INTEGER NOT NULL DEFAULT 1,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    last_used_ms INTEGER,
    CHECK ((secret_hash IS NULL) <> (public_keys IS NULL))
) STRICT;

INSERT INTO clients_either
    (id, name, secret_hash, scopes, disabled, version, created_ms, updated_ms, last_used_ms)
SELECT id, name, secret_hash, scopes, disabled, version, created_ms, updated_ms, last_used_ms FROM clients;

DROP TABLE clients;

ALTER TABLE clients_either RENAME TO clients;
