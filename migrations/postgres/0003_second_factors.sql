-- Second factors, and the sign-ins that wait for one.

CREATE TABLE totp_secrets (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Encrypted under the root key, for this user alone.
    wrapped BYTEA NOT NULL,
    -- Until a first code has proven it, the secret asks nothing of anybody.
    confirmed_ms BIGINT,
    -- The time step of the last code that was taken: none up to it is taken again.
    last_step BIGINT NOT NULL DEFAULT 0,
    -- Codes tried since the last right one, and when the next may be tried.
    failures BIGINT NOT NULL DEFAULT 0,
    wait_until_ms BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL
);

-- A code that was used is gone.
CREATE TABLE recovery_codes (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256. A code is 120 random bits of our own making, which no slower hash would protect any better.
    hash BYTEA NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- A first proof was given, the second is awaited.
CREATE TABLE sign_in_challenges (
    -- SHA-256 of 32 random bytes.
    hash BYTEA NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_version BIGINT NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    expires_ms BIGINT NOT NULL
);

CREATE INDEX sign_in_challenges_by_user ON sign_in_challenges (user_id);
CREATE INDEX sign_in_challenges_by_end ON sign_in_challenges (expires_ms);
