-- Whose e-mail address is known to be theirs, and the codes that were sent to find out or to reset a password.

ALTER TABLE users ADD COLUMN email_verified BOOLEAN NOT NULL DEFAULT FALSE;

-- Of each purpose a user has the newest code only.
CREATE TABLE email_codes (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose TEXT NOT NULL,
    -- SHA-256. The code is 16 random bytes of our own making, which no slower hash would protect any better.
    code_hash BYTEA NOT NULL UNIQUE,
    -- Where it was sent. The code is worth nothing once the user has another address.
    email_key TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, purpose)
);

CREATE INDEX email_codes_by_end ON email_codes (expires_ms);
