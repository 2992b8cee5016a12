-- Users, their roles and sessions; signing keys; the revocation log; the audit log.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT,
    -- The form names are compared in. One holds an @ and the other must not, so that no username can pass for an e-mail address.
    username_key TEXT UNIQUE CHECK (username_key NOT LIKE '%@%'),
    email TEXT,
    email_key TEXT UNIQUE CHECK (email_key LIKE '%@%'),
    display_name TEXT,
    password_hash TEXT,
    password_scheme TEXT,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    version INTEGER NOT NULL DEFAULT 1,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    CHECK (username_key IS NOT NULL OR email_key IS NOT NULL),
    CHECK ((password_hash IS NULL) = (password_scheme IS NULL))
) STRICT;

CREATE TABLE user_roles (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    granted_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, role)
) STRICT;

CREATE TABLE sessions (
    sid TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    -- Which key authenticates the refresh tokens of this session; none for a session that has no refresh token.
    mac_kid TEXT,
    gen INTEGER NOT NULL DEFAULT 0,
    rotated_at_ms INTEGER NOT NULL,
    grace_used INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    idle_exp_ms INTEGER NOT NULL,
    abs_exp_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    revoke_reason TEXT,
    user_agent_hash TEXT,
    ip TEXT
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (abs_exp_ms);

CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    -- The private part, encrypted under the root key.
    wrapped BLOB NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    retired_ms INTEGER
) STRICT;

-- Two gateways that start at the same time must not make two keys.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';

CREATE TABLE revocations (
    seq INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value INTEGER,
    -- After this instant no token can exist that the row speaks of.
    until_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    cause TEXT NOT NULL
) STRICT;

CREATE INDEX revocations_by_end ON revocations (until_ms);

-- Holds the last number given out. Its one row is locked until the commit, so numbers become visible in their order.
CREATE TABLE revocation_counter (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;

INSERT INTO revocation_counter (id, seq) VALUES (1, 0);

CREATE TABLE audit_chains (
    chain TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL,
    head_hash BLOB NOT NULL
) STRICT;

CREATE TABLE audit_events (
    chain TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    actor_type TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT,
    target_type TEXT,
    target_id TEXT,
    target_name TEXT,
    source_address TEXT,
    request_id TEXT,
    route TEXT,
    resource TEXT,
    count INTEGER NOT NULL,
    until_ms INTEGER,
    -- The exact text that was hashed; the columns above repeat it for queries.
    bytes TEXT NOT NULL,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT;

CREATE INDEX audit_events_by_action ON audit_events (action, chain, seq);
