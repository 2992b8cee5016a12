-- People who sign in elsewhere, and clients that sign instead of telling a secret.

-- Whose account at an identity provider is whose here.
CREATE TABLE identities (
    -- The `iss` and the `sub` of the provider's ID tokens, which together never mean anybody else.
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);

CREATE INDEX identities_by_user ON identities (user_id);

-- What may be used once and was, until it is too old to be used at all. As SHA-256.
CREATE TABLE spent (
    digest BYTEA NOT NULL PRIMARY KEY,
    until_ms BIGINT NOT NULL
);

CREATE INDEX spent_by_end ON spent (until_ms);

-- A client has a secret or public keys.
ALTER TABLE clients ALTER COLUMN secret_hash DROP NOT NULL;
-- As they were given: a key set, or a PEM block.
ALTER TABLE clients ADD COLUMN public_keys TEXT;
ALTER TABLE clients ADD CHECK ((secret_hash IS NULL) <> (public_keys IS NULL));
