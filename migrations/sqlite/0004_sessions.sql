-- Sessions that are refreshed, and end by themselves or with all the others of their user.

-- Sessions that were opened while the user had a lower version have ended.
ALTER TABLE users ADD COLUMN session_fence INTEGER NOT NULL DEFAULT 0;

ALTER TABLE sessions ADD COLUMN user_version INTEGER NOT NULL DEFAULT 0;
-- Takes the place of user_agent_hash, which was never filled: people recognize a device by its words.
ALTER TABLE sessions ADD COLUMN user_agent TEXT;

-- A session without use ends before its absolute end, and never after it.
CREATE INDEX sessions_by_idle_end ON sessions (idle_exp_ms);
