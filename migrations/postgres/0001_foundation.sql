-- Users, their roles and sessions; signing keys; the revocation log; the audit log.

CREATE TABLE users (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    username TEXT,
    -- The form names are compared in. One holds an @ and the other must not, so that no username can pass for an e-mail address.
    username_key TEXT COLLATE "C" UNIQUE CHECK (username_key NOT LIKE '%@%'),
    email TEXT,
    email_key TEXT COLLATE "C" UNIQUE CHECK (email_key LIKE '%@%'),
    display_name TEXT,
    password_hash TEXT,
    password_scheme TEXT,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    version BIGINT NOT NULL DEFAULT 1,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    CHECK (username_key IS NOT NULL OR email_key IS NOT NULL),
    CHECK ((password_hash IS NULL) = (password_scheme IS NULL))
);

CREATE TABLE user_roles (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT COLLATE "C" NOT NULL,
    granted_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE sessions (
    sid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id TEXT,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    -- Which key authenticates the refresh tokens of this session; none for a session that has no refresh token.
    mac_kid TEXT,
    gen BIGINT NOT NULL DEFAULT 0,
    rotated_at_ms BIGINT NOT NULL,
    grace_used BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL,
    idle_exp_ms BIGINT NOT NULL,
    abs_exp_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    revoke_reason TEXT,
    user_agent_hash TEXT,
    ip TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (abs_exp_ms);

CREATE TABLE signing_keys (
    kid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    -- The private part, encrypted under the root key.
    wrapped BYTEA NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    retired_ms BIGINT
);

-- Two gateways that start at the same time must not make two keys.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';

CREATE TABLE revocations (
    seq BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BIGINT,
    -- After this instant no token can exist that the row speaks of.
    until_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    cause TEXT NOT NULL
);

CREATE INDEX revocations_by_end ON revocations (until_ms);

-- Holds the last number given out. Its one row is locked until the commit, so numbers become visible in their order.
CREATE TABLE revocation_counter (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
);

INSERT INTO revocation_counter (id, seq) VALUES (1, 0);

CREATE TABLE audit_chains (
    chain TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    head_hash BYTEA NOT NULL
);

CREATE TABLE audit_events (
    chain TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
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
    count BIGINT NOT NULL,
    until_ms BIGINT,
    -- The exact text that was hashed; the columns above repeat it for queries.
    bytes TEXT NOT NULL,
    prev_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (chain, seq)
);

CREATE INDEX audit_events_by_action ON audit_events (action, chain, seq);
