-- Second factors, and the sign-ins that wait for one.

CREATE TABLE totp_secrets (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Encrypted under the root key, for this user alone.
    wrapped BLOB NOT NULL,
    -- Until a first code has proven it, the secret asks nothing of anybody.
    confirmed_ms INTEGER,
    -- The time step of the last code that was taken: none up to it is taken again.
    last_step INTEGER NOT NULL DEFAULT 0,
    -- Codes tried since the last right one, and when the next may be tried.
    failures INTEGER NOT NULL DEFAULT 0,
    wait_until_ms INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;

-- A code that was used is gone.
CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256. A code is 120 random bits of our own making, which no slower hash would protect any better.
    hash BLOB NOT NULL,
    PRIMARY KEY (user_id, hash)
) STRICT;

-- A first proof was given, the second is awaited.
CREATE TABLE sign_in_challenges (
    -- SHA-256 of 32 random bytes.
    hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_version INTEGER NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX sign_in_challenges_by_user ON sign_in_challenges (user_id);
CREATE INDEX sign_in_challenges_by_end ON sign_in_challenges (expires_ms);
