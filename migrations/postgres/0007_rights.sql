-- Roles made at run time beside those of the configuration, and tenants of users and of their roles.

CREATE TABLE roles (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Separated by spaces; empty for a role that only marks its holders.
    scopes TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);

-- The tenant that a user belongs to; none for users of the whole installation.
ALTER TABLE users ADD COLUMN tenant TEXT;
-- The tenant that a session is for, and one that still waits for its second proof.
ALTER TABLE sessions ADD COLUMN tenant TEXT;
ALTER TABLE sign_in_challenges ADD COLUMN tenant TEXT;

-- Roles that hold within one tenant only. Those of user_roles hold wherever their user is at home.
CREATE TABLE tenant_roles (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    granted_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, role, tenant)
);

CREATE INDEX user_roles_by_role ON user_roles (role, user_id);
CREATE INDEX tenant_roles_by_role ON tenant_roles (role, user_id);

-- Its one row is locked by whoever changes who may do what, first of all and until the commit: two administrators who
-- demote each other at the same time must not both be the last but one.
CREATE TABLE rights_turn (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    taken BIGINT NOT NULL
);

INSERT INTO rights_turn (id, taken) VALUES (1, 0);
